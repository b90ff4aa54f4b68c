//! What needs the broker: the relay before the answer and by the schedule, the watchdog, and the
//! ingestor with a poison message among its batch.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use shared::bus::rabbit::{Role, Settings};
use shared::bus::topology::{DEAD, HEARTBEATS, RESULTS, agent_queue};
use shared::bus::{Bus, Delivery};
use shared::clock::Clock;
use shared::contract::signed::{Kind, ResultReport};
use shared::db::Db;
use shared::rules::invocation::Ending;
use shared::sign::{Envelope, SigningKey};

use super::event::{messages, request, scheduled};
use super::function::Function;
use crate::harness::PATIENCE;
use crate::mysql::Database;
use crate::vhost::Vhost;

/// A plane of functions.
struct Plane {
    inventory: Function,
    tasks: Function,
    db: Db,
    bus: Bus,
    /// Dropped after the functions that use them.
    database: Database,
    vhost: Vhost,
}

impl Plane {
    async fn new() -> Self {
        let (database, vhost) = (Database::new().await, Vhost::new());
        let db = database.open().await;
        let (url, broker) = (database.url(), vhost.plane_url());
        let settings = Settings { url: broker.clone(), ca_file: None, role: Role::Plane, name: "test".to_owned() };
        let bus = Bus::rabbit(&settings).unwrap();
        let key = SigningKey::generate().unwrap().to_pem().unwrap();
        let vars =
            [("MUSTER_DATABASE_URL", url.as_str()), ("MUSTER_BROKER_URL", &broker), ("MUSTER_SIGNING_KEY", &key)];
        let inventory = Function::start("muster-inventory", &vars[..1]).await;
        let tasks = Function::start("muster-tasks", &vars).await;
        // An answer waits two seconds at most for the relay: not for its first connection too.
        let start = Instant::now();
        while tasks.ask(request("GET", "/readyz", None)).await.1["broker"] != "ok" {
            assert!(start.elapsed() < PATIENCE, "the broker is not reached");
        }
        Self { inventory, tasks, db, bus, database, vhost }
    }

    /// Waits until so many messages can be taken from a queue, and gives them back.
    async fn waiting(&self, queue: &str, count: usize) -> Vec<Delivery> {
        let (start, mut taken) = (Instant::now(), Vec::new());
        let mut hold = self.bus.subscribe(queue).await.unwrap();
        while taken.len() < count {
            taken.extend(hold.take(count).await.unwrap());
            assert!(start.elapsed() < PATIENCE, "{queue} has {} messages, not {count}", taken.len());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        taken
    }

    /// The digest of a task's command, which its results must answer.
    async fn digest(&self, task: &str) -> String {
        let query = "select command_digest from waves where task_id = ?";
        let (digest,): (String,) =
            shared::read!(&self.db, c => sqlx::query_as(query).bind(task).fetch_one(c).await).unwrap();
        digest
    }

    /// Lets the time of every invocation be over.
    async fn age(&self) {
        for update in ["update invocations set due_at = 1", "update tasks set expires_at = 1"] {
            shared::read!(&self.db, c => sqlx::query(update).execute(c).await.map(drop)).unwrap();
        }
    }

    async fn register(&self, hostname: &str) {
        let server = Some(json!({ "hostname": hostname }));
        assert_eq!(self.inventory.ask(request("POST", "/api/servers", server)).await.0, 201);
    }

    /// Sends a command to all and returns the task's id.
    async fn send(&self) -> String {
        let command = Some(json!({ "target_type": "all", "target": null, "command": "true" }));
        let (status, task) = self.tasks.ask(request("POST", "/api/commands", command)).await;
        assert_eq!(status, 201, "{task}");
        task["task_id"].as_str().unwrap().to_owned()
    }

    /// How many of a task's invocations are in a state.
    async fn count(&self, task: &str, state: &str) -> Value {
        let (status, task) = self.tasks.ask(request("GET", &format!("/api/tasks/{task}"), None)).await;
        assert_eq!(status, 200, "{task}");
        task["counts"][state].clone()
    }
}

#[tokio::test]
async fn a_command_is_with_the_broker_before_its_answer() {
    let plane = Plane::new().await;
    plane.register("a").await;
    let task = plane.send().await;
    assert_eq!(plane.count(&task, "sent").await, 1, "nothing but the request itself set the relay to work");
    assert_eq!(plane.waiting(&agent_queue("a"), 1).await.len(), 1);
}

#[tokio::test]
async fn the_schedule_sets_relay_and_watchdog_to_work() {
    let plane = Plane::new().await;
    plane.register("a").await;
    let task = plane.send().await;
    plane.register("b").await; // at the inventory, which has no relay
    plane.age().await;
    assert_eq!(plane.tasks.invoke(scheduled()).await, Ok(Value::Null));
    assert!(plane.bus.subscribe(&agent_queue("b")).await.is_ok(), "the relay made its queue");
    assert_eq!(plane.count(&task, "expired").await, 1, "its time was over");
}

fn result(task: &str, command_digest: &str) -> ResultReport {
    ResultReport {
        iss: "a".into(),
        task_id: task.into(),
        command_digest: command_digest.into(),
        status: Ending::Succeeded,
        reason: None,
        exit_code: 0,
        signal: None,
        stdout: "done".into(),
        stderr: String::new(),
        stdout_bytes: 4,
        stderr_bytes: 0,
        truncated: false,
        started_at: None,
        finished_at: Clock::System.now(),
        boot_id: "b".into(),
    }
}

#[tokio::test]
async fn a_poison_message_holds_up_no_result() {
    let plane = Plane::new().await;
    plane.register("a").await;
    let key = SigningKey::generate().unwrap();
    let public = json!({ "public_key_pem": key.public().to_pem().unwrap() });
    assert_eq!(plane.inventory.ask(request("PUT", "/api/client-keys/a", Some(public))).await.0, 200);
    let (first, second) = (plane.send().await, plane.send().await);
    let signed = async |task: &str| {
        let digest = plane.digest(task).await;
        let body = serde_json::to_vec(&result(task, &digest)).unwrap();
        Envelope::sign(Kind::Result, body, &key).unwrap().to_json()
    };
    let (good, better) = (signed(&first).await, signed(&second).await);
    let (url, broker) = (plane.database.url(), plane.vhost.plane_url());
    let vars = [("MUSTER_DATABASE_URL", url.as_str()), ("MUSTER_BROKER_URL", &broker)];
    let ingestor = Function::start("muster-result-ingestor", &vars).await;
    for _ in 0..2 {
        let batch = messages(RESULTS, &[&good, "poison", &better]);
        assert_eq!(ingestor.invoke(batch).await, Ok(Value::Null));
    }
    let dead = plane.waiting(DEAD, 2).await; // once each time that it came
    assert!(dead.iter().all(|dead| dead.body == b"poison" && dead.reason.is_some()), "{dead:?}");
    for task in [&first, &second] {
        let (_, results) = plane.tasks.ask(request("GET", &format!("/api/tasks/{task}/results"), None)).await;
        assert_eq!((results.as_array().unwrap().len(), &results[0]["stdout"]), (1, &json!("done")));
    }
    assert_eq!(ingestor.invoke(messages(HEARTBEATS, &["poison"])).await, Ok(Value::Null));
    let unknown = ingestor.invoke(messages("other", &["x"])).await.unwrap_err();
    assert!(unknown["errorMessage"].as_str().unwrap().contains("`other`"), "{unknown}");
}
