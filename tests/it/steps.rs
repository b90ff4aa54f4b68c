//! The pipeline step by step, on a clock that stands still: the relay, the watchdog and the ingestor
//! take their steps when the test says so, and the agent is the test itself.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use shared::bus::{Address, Bus, Delivery, LocalBus, Message, Receipt, Verdict, consume, topology};
use shared::clock::{Clock, Time};
use shared::config::Keep;
use shared::contract::key::Algorithm;
use shared::contract::server::NewServer;
use shared::contract::signed::{EventReport, Kind, PLANE, Progress, ResultReport};
use shared::db::{Db, Lite};
use shared::rules::invocation::Ending;
use shared::run::{Bell, Context, Work};
use shared::sign::{Envelope, Inbound, KeyState, SigningKey, TrustedKey, inbound};
use shared::store;
use tasks::{Relay, Watchdog};
use tempfile::TempDir;
use tower::ServiceExt as _;

use crate::mysql::Database;

/// When each test begins.
pub const START: Time = Time(1_700_000_000_000);

/// The plane's key and that of the server `a`.
pub fn keys() -> &'static [SigningKey; 2] {
    static KEYS: OnceLock<[SigningKey; 2]> = OnceLock::new();
    KEYS.get_or_init(|| [SigningKey::generate().unwrap(), SigningKey::generate().unwrap()])
}

pub fn copy(key: &SigningKey) -> SigningKey {
    SigningKey::from_pem(&key.to_pem().unwrap()).unwrap()
}

/// The plane's parts, at rest.
pub struct Parts {
    pub ctx: Context,
    routes: Router,
    own_relay: Work,
    pub folder: TempDir,
    /// Dropped last, after everybody who uses it.
    _database: Option<Database>,
}

/// Makes a function of [`Parts`] a test over each database: `over_both!(what_must_hold);`.
macro_rules! over_both {
    ($name:ident) => {
        mod $name {
            #[tokio::test(flavor = "multi_thread")]
            async fn over_sqlite() {
                super::$name(crate::steps::Parts::over_sqlite().await).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn over_mysql() {
                super::$name(crate::steps::Parts::over_mysql().await).await;
            }
        }
    };
}
pub(crate) use over_both;

impl Parts {
    /// Over SQLite, with the server `a`, its key and its queue.
    pub async fn over_sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let lite = Lite::open(&folder.path().join("muster.db")).await.unwrap();
        let db = Db::Lite(lite.clone());
        db.migrate().await.unwrap();
        Self::new(folder, db, lite, None).await
    }

    /// The same over MySQL.
    pub async fn over_mysql() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let lite = Lite::open(&folder.path().join("bus.db")).await.unwrap();
        let database = Database::new().await;
        let db = database.open().await;
        Self::new(folder, db, lite, Some(database)).await
    }

    async fn new(folder: TempDir, db: Db, lite: Lite, database: Option<Database>) -> Self {
        let clock = Clock::manual(START);
        let bus = Bus::Local(LocalBus::open(lite, clock.clone()).await.unwrap());
        let ctx = Context { db, bus, clock, bell: Bell::default() };
        let service = tasks::service(ctx.clone(), Arc::new(copy(&keys()[0])), Keep::default()).await.unwrap();
        let relay = service.chores.iter().find(|chore| chore.name == "relay").unwrap();
        let own_relay = Arc::clone(&relay.work);
        let mut tx = ctx.db.begin().await.unwrap();
        let server = NewServer { hostname: "a".into(), ip: None, group: None };
        store::server::insert(&mut tx, &server, START).await.unwrap();
        store::key::put(&mut tx, "a", keys()[1].public(), None, START).await.unwrap();
        tx.commit().await.unwrap();
        ctx.bus.declare("a").await.unwrap();
        Self { ctx, routes: service.routes, own_relay, folder, _database: database }
    }

    pub async fn call(&self, method: &str, path: &str, body: Value) -> Value {
        self.ask(method, path, None, &body).await
    }

    /// The same, perhaps with an idempotency key.
    pub async fn ask(&self, method: &str, path: &str, key: Option<&str>, body: &Value) -> Value {
        let mut request = Request::builder().method(method).uri(path).header("content-type", "application/json");
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let response = self.routes.clone().oneshot(request.body(Body::from(body.to_string())).unwrap()).await.unwrap();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        serde_json::from_slice(&bytes).unwrap()
    }

    pub async fn send(&self) -> String {
        let task = self.call("POST", "/api/commands", json!({ "target_type": "all", "command": "true" })).await;
        task["task_id"].as_str().unwrap().to_owned()
    }

    /// The relay of the service that accepts the commands. From its first step on they are handed over.
    pub async fn own_relay(&self) {
        (self.own_relay)().await.unwrap();
    }

    /// The relay of another process.
    pub async fn relay(&self) {
        Relay::new(self.ctx.clone()).step().await.unwrap();
    }

    pub async fn watchdog(&self) {
        Watchdog::new(self.ctx.clone()).step().await.unwrap();
    }

    /// Lets the ingestor take what has been reported.
    pub async fn ingest(&self) {
        let consumers = result_ingestor::service(self.ctx.clone()).consumers;
        let consumer = consumers.iter().find(|consumer| consumer.queue == topology::RESULTS).unwrap();
        let mut hold = self.ctx.bus.subscribe(topology::RESULTS).await.unwrap();
        consume::step(&mut hold, consumer).await.unwrap();
    }

    /// What waits for the server `a`, acknowledged.
    pub async fn take(&self) -> Vec<Delivery> {
        let mut hold = self.ctx.bus.subscribe(&topology::agent_queue("a")).await.unwrap();
        let taken = hold.take(100).await.unwrap();
        hold.settle(taken.iter().map(|delivery| (delivery.tag, Verdict::Done)).collect()).await.unwrap();
        taken
    }

    pub async fn report(&self, kind: Kind, body: &impl serde::Serialize) {
        let envelope = Envelope::sign(kind, serde_json::to_vec(body).unwrap(), &keys()[1]).unwrap();
        let address = Address::Report(kind, "a".into());
        let message = Message { address, body: envelope.to_json().into_bytes(), traceparent: None, ttl: None };
        let receipts = self.ctx.bus.publish(vec![message]).await;
        assert!(matches!(receipts[0], Ok(Receipt::Confirmed)));
    }

    /// Where the one invocation stands, once the counts have been seen to add up.
    pub async fn state(&self, task_id: &str) -> String {
        let task = self.call("GET", &format!("/api/tasks/{task_id}"), Value::Null).await;
        let counts = task["counts"].as_object().unwrap();
        assert_eq!(counts.values().map(|count| count.as_i64().unwrap()).sum::<i64>(), 1, "{task}");
        let list = self.call("GET", &format!("/api/tasks/{task_id}/invocations"), Value::Null).await;
        let state = list[0]["status"].as_str().unwrap().to_owned();
        assert_eq!(counts.get(&state), Some(&json!(1)), "the task counts what its invocation says: {task}");
        state
    }

    pub async fn results(&self, task_id: &str) -> Value {
        self.call("GET", &format!("/api/tasks/{task_id}/results"), Value::Null).await
    }

    pub async fn dead(&self) -> Vec<String> {
        let taken = self.ctx.bus.subscribe(topology::DEAD).await.unwrap().take(100).await.unwrap();
        taken.into_iter().filter_map(|delivery| delivery.reason).collect()
    }
}

/// A message as its agent sees it.
pub fn open(delivery: &Delivery, now: Time) -> Inbound {
    let plane = TrustedKey {
        owner: PLANE.into(),
        key: keys()[0].public().clone(),
        algorithm: Algorithm::PS256,
        state: KeyState::Active,
    };
    inbound(&delivery.body, "a", &[plane], now).unwrap()
}

/// The digest of a command as its agent sees it.
pub fn digest(delivery: &Delivery, now: Time) -> String {
    match open(delivery, now) {
        Inbound::Command(command) => command.digest().to_owned(),
        Inbound::Cancel(cancel) => cancel.body().command_digest.clone(),
    }
}

pub fn result(task_id: &str, digest: &str, status: Ending, stdout: &str) -> ResultReport {
    ResultReport {
        iss: "a".into(),
        task_id: task_id.into(),
        command_digest: digest.into(),
        status,
        reason: None,
        exit_code: i32::from(status != Ending::Succeeded),
        signal: None,
        stdout: stdout.into(),
        stderr: String::new(),
        stdout_bytes: stdout.len() as u64,
        stderr_bytes: 0,
        truncated: false,
        started_at: None,
        finished_at: START,
        boot_id: "b".into(),
    }
}

fn running(task_id: &str, digest: &str) -> EventReport {
    let (kind, boot_id) = (Progress::Running, "b".into());
    EventReport {
        iss: "a".into(),
        task_id: task_id.into(),
        command_digest: digest.into(),
        kind,
        at: START,
        boot_id,
        seq: 1,
    }
}

async fn a_command_that_nobody_takes_expires_and_late_evidence_overrules_that(parts: Parts) {
    let task = parts.send().await;
    assert_eq!(parts.state(&task).await, "queued");
    parts.relay().await;
    assert_eq!(parts.state(&task).await, "sent");
    let delivery = parts.take().await.remove(0);
    let digest = digest(&delivery, START);
    parts.ctx.clock.advance(Duration::from_secs(3_600 + 90));
    parts.watchdog().await;
    assert_eq!(parts.state(&task).await, "sent", "not before the grace is over");
    parts.ctx.clock.advance(Duration::from_millis(1));
    parts.watchdog().await;
    assert_eq!(parts.state(&task).await, "expired");
    let shown = parts.call("GET", &format!("/api/tasks/{task}"), Value::Null).await;
    assert_eq!((&shown["status"], &shown["final"]), (&json!("expired"), &json!(false)));
    parts.ctx.clock.advance(Duration::from_secs(3 * 24 * 3_600));
    parts.report(Kind::Result, &result(&task, &digest, Ending::Succeeded, "late")).await;
    parts.ingest().await;
    assert_eq!(parts.state(&task).await, "succeeded");
    let list = parts.call("GET", &format!("/api/tasks/{task}/invocations"), Value::Null).await;
    assert_eq!(list[0]["provisional_status"], "expired", "the history keeps both");
}
over_both!(a_command_that_nobody_takes_expires_and_late_evidence_overrules_that);

async fn a_running_command_that_falls_silent_is_lost_by_its_deadline(parts: Parts) {
    let task = parts.send().await;
    parts.relay().await;
    let digest = digest(&parts.take().await[0], START);
    parts.report(Kind::Event, &running(&task, &digest)).await;
    parts.ingest().await;
    assert_eq!(parts.state(&task).await, "running");
    parts.ctx.clock.advance(Duration::from_secs(30 + 310));
    parts.watchdog().await;
    assert_eq!(parts.state(&task).await, "running");
    parts.ctx.clock.advance(Duration::from_millis(1));
    parts.watchdog().await;
    assert_eq!(parts.state(&task).await, "lost");
}
over_both!(a_running_command_that_falls_silent_is_lost_by_its_deadline);

async fn a_result_twice_is_once_and_another_one_is_a_conflict(parts: Parts) {
    let task = parts.send().await;
    parts.relay().await;
    let digest = digest(&parts.take().await[0], START);
    let first = result(&task, &digest, Ending::Succeeded, "first");
    for report in [&first, &first, &result(&task, &digest, Ending::Failed, "other")] {
        parts.report(Kind::Result, report).await;
    }
    parts.ingest().await;
    parts.report(Kind::Result, &first).await;
    parts.report(Kind::Event, &running(&task, &digest)).await;
    parts.ingest().await;
    assert_eq!(parts.state(&task).await, "succeeded");
    let results = parts.results(&task).await;
    assert_eq!((results.as_array().unwrap().len(), &results[0]["stdout"]), (1, &json!("first")));
    let conflicts: (i64,) = shared::read!(&parts.ctx.db, c =>
        sqlx::query_as("select count(*) from result_conflicts").fetch_one(c).await)
    .unwrap();
    assert_eq!(conflicts.0, 1);
    let shown = parts.call("GET", &format!("/api/tasks/{task}/conflicts"), Value::Null).await;
    assert_eq!((shown.as_array().unwrap().len(), &shown[0]["stdout"]), (1, &json!("other")));
    assert_eq!((&shown[0]["hostname"], &shown[0]["status"]), (&json!("a"), &json!("failed")));
    assert_eq!(shown[0]["keyid"], keys()[1].keyid());
}
over_both!(a_result_twice_is_once_and_another_one_is_a_conflict);

async fn what_is_not_believed_lies_with_the_dead_and_holds_nobody_up(parts: Parts) {
    let task = parts.send().await;
    parts.relay().await;
    let digest = digest(&parts.take().await[0], START);
    parts.report(Kind::Result, &result(&"0".repeat(32), &digest, Ending::Succeeded, "")).await;
    parts.report(Kind::Result, &result(&task, &"0".repeat(64), Ending::Succeeded, "")).await;
    let stranger = ResultReport { iss: "b".into(), ..result(&task, &digest, Ending::Succeeded, "") };
    parts.report(Kind::Result, &stranger).await;
    parts.report(Kind::Result, &result(&task, &digest, Ending::Failed, "believed")).await;
    parts.ingest().await;
    assert_eq!(parts.dead().await, ["unknown_task", "wrong_digest", "wrong_issuer"]);
    assert_eq!(parts.state(&task).await, "failed");
}
over_both!(what_is_not_believed_lies_with_the_dead_and_holds_nobody_up);

async fn a_lost_queue_is_made_again_with_what_was_sent_into_it(parts: Parts) {
    let first = parts.send().await;
    parts.relay().await;
    assert_eq!(parts.state(&first).await, "sent");
    parts.ctx.bus.delete("a").await.unwrap(); // as a broker that was set up anew
    let second = parts.send().await;
    parts.relay().await;
    parts.relay().await;
    assert_eq!(parts.state(&second).await, "sent");
    let digests: Vec<_> = parts.take().await.iter().map(|delivery| digest(delivery, START)).collect();
    assert_eq!(digests.len(), 2, "both the old command and the new one");
}
over_both!(a_lost_queue_is_made_again_with_what_was_sent_into_it);

async fn a_lost_queue_brings_the_cancel_back_before_its_command(parts: Parts) {
    let task = parts.send().await;
    parts.relay().await;
    parts.call("POST", &format!("/api/tasks/{task}/cancel"), Value::Null).await;
    parts.relay().await;
    parts.ctx.bus.delete("a").await.unwrap();
    parts.send().await;
    parts.relay().await;
    parts.relay().await;
    let is_cancel = |delivery: &Delivery| matches!(open(delivery, START), Inbound::Cancel(_));
    let kinds: Vec<_> = parts.take().await.iter().map(is_cancel).collect();
    assert_eq!(kinds, [false, true, false], "the new command; then the old one's cancel, then the old one");
}
over_both!(a_lost_queue_brings_the_cancel_back_before_its_command);

async fn an_order_that_comes_late_does_not_take_a_live_queue(parts: Parts) {
    let order = |kind| store::outbox::Entry {
        kind,
        task_id: None,
        wave: None,
        hostname: "a",
        traceparent: None,
        expires_at: None,
    };
    let mut tx = parts.ctx.db.begin().await.unwrap();
    store::outbox::insert(&mut tx, &[order(store::outbox::Kind::Delete)], START).await.unwrap();
    tx.commit().await.unwrap();
    parts.relay().await;
    assert!(parts.ctx.bus.subscribe(&topology::agent_queue("a")).await.is_ok(), "`a` is registered");
    let mut tx = parts.ctx.db.begin().await.unwrap();
    store::server::delete(&mut tx, "a").await.unwrap();
    store::outbox::insert(&mut tx, &[order(store::outbox::Kind::Declare)], START).await.unwrap();
    tx.commit().await.unwrap();
    parts.relay().await;
    assert!(parts.ctx.bus.subscribe(&topology::agent_queue("a")).await.is_err(), "`a` is not registered any more");
}
over_both!(an_order_that_comes_late_does_not_take_a_live_queue);

async fn a_server_that_is_gone_is_undeliverable_and_gets_no_queue(parts: Parts) {
    let task = parts.send().await;
    let mut tx = parts.ctx.db.begin().await.unwrap();
    assert!(store::server::delete(&mut tx, "a").await.unwrap());
    tx.commit().await.unwrap();
    parts.ctx.bus.delete("a").await.unwrap();
    parts.relay().await;
    assert_eq!(parts.state(&task).await, "undeliverable");
    assert!(parts.ctx.bus.subscribe(&topology::agent_queue("a")).await.is_err());
}
over_both!(a_server_that_is_gone_is_undeliverable_and_gets_no_queue);

async fn a_cancel_before_the_relay_is_final_at_once_and_nothing_is_sent(parts: Parts) {
    let task = parts.send().await;
    parts.call("POST", &format!("/api/tasks/{task}/cancel"), Value::Null).await;
    assert_eq!(parts.state(&task).await, "cancelled");
    parts.relay().await;
    assert!(parts.take().await.is_empty());
    assert_eq!(store::outbox::backlog(&parts.ctx.db).await.unwrap().0, 0);
}
over_both!(a_cancel_before_the_relay_is_final_at_once_and_nothing_is_sent);

async fn a_relay_that_died_with_a_lease_is_replaced_when_it_runs_out(parts: Parts) {
    let task = parts.send().await;
    let leased = store::outbox::lease(&parts.ctx.db, "dead", START, START.plus(Duration::from_secs(30)), 10).await;
    assert_eq!(leased.unwrap().len(), 1);
    parts.relay().await;
    assert_eq!(parts.state(&task).await, "queued", "somebody else has it");
    parts.call("POST", &format!("/api/tasks/{task}/cancel"), Value::Null).await;
    assert_eq!(parts.state(&task).await, "queued", "it was attempted, so it may have been sent");
    parts.ctx.clock.advance(Duration::from_secs(30));
    parts.relay().await;
    assert_eq!(parts.state(&task).await, "sent");
    assert_eq!(parts.take().await.len(), 2, "the command and its cancel");
}
over_both!(a_relay_that_died_with_a_lease_is_replaced_when_it_runs_out);

async fn what_expired_in_the_outbox_is_not_sent(parts: Parts) {
    let task = parts.send().await;
    parts.ctx.clock.advance(Duration::from_secs(3_600));
    parts.relay().await;
    assert!(parts.take().await.is_empty());
    assert_eq!(store::outbox::backlog(&parts.ctx.db).await.unwrap().0, 0);
    parts.ctx.clock.advance(Duration::from_secs(91));
    parts.watchdog().await;
    assert_eq!(parts.state(&task).await, "expired");
}
over_both!(what_expired_in_the_outbox_is_not_sent);

async fn two_relays_send_each_command_once(parts: Parts) {
    for _ in 0..40 {
        parts.send().await;
    }
    let relays: Vec<_> = (0..4).map(|_| Relay::new(parts.ctx.clone())).collect();
    for stepped in futures::future::join_all(relays.iter().map(Relay::step)).await {
        stepped.unwrap();
    }
    let mut digests: Vec<_> = parts.take().await.iter().map(|delivery| digest(delivery, START)).collect();
    assert_eq!(digests.len(), 40);
    digests.sort();
    digests.dedup();
    assert_eq!(digests.len(), 40, "each of them once");
}
over_both!(two_relays_send_each_command_once);
