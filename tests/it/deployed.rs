//! The deployed plane: what must hold when its parts are processes that die and ways that break.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::{PATIENCE, id};
use crate::process::{Launch, free_port};
use crate::proxy::Proxy;
use crate::stack::{Stack, TOKEN, Ways};

fn to_all(command: &str) -> Value {
    json!({ "target_type": "all", "command": command, "timeout": 60 })
}

/// Each server's state exactly once, whatever happened on the way.
async fn outcomes(stack: &Stack, task: &Value) -> BTreeMap<String, String> {
    stack.results(task).await;
    let list = stack.get(&format!("/api/tasks/{}/invocations", id(task))).await;
    let state =
        |one: &Value| (one["hostname"].as_str().unwrap().to_owned(), one["status"].as_str().unwrap().to_owned());
    list.as_array().unwrap().iter().map(state).collect()
}

fn succeeded(hosts: &[&str]) -> BTreeMap<String, String> {
    hosts.iter().map(|host| ((*host).to_owned(), "succeeded".to_owned())).collect()
}

/// How often a command ran, by its own account: each run appends a line.
fn runs(stack: &Stack, file: &str) -> usize {
    std::fs::read_to_string(stack.folder.path().join(file)).unwrap_or_default().lines().count()
}

fn noting(stack: &Stack, file: &str) -> Value {
    to_all(&format!("echo ran >> {}", stack.folder.path().join(file).display()))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_main_job_through_five_programs() {
    let stack = Stack::new(&["one", "two"]).await;
    stack
        .until("/api/servers", |servers| servers.as_array().unwrap().iter().all(|one| one["status"] == "online"))
        .await;
    let task = stack.send(to_all("echo hello from $MUSTER_HOSTNAME")).await;
    assert_eq!(task["status"], "sent");
    let results = stack.results(&task).await;
    let mut said: Vec<_> = results.iter().map(|result| result["stdout"].as_str().unwrap()).collect();
    said.sort_unstable();
    assert_eq!(said, ["hello from one\n", "hello from two\n"]);
    let without = reqwest::Client::builder().no_proxy().build().unwrap();
    let refused = without.get(stack.url("/api/servers")).send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    stack.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_waits_for_its_agent() {
    let mut stack = Stack::new(&["one"]).await;
    assert!(stack.process("one").stop().success());
    let task = stack.send(noting(&stack, "ran")).await;
    let path = format!("/api/tasks/{}", id(&task));
    stack.until(&path, |task| task["counts"] == json!({ "sent": 1 })).await;
    stack.process("one").restart();
    assert_eq!(outcomes(&stack, &task).await, succeeded(&["one"]));
    assert_eq!(runs(&stack, "ran"), 1);
}

/// An agent sees all that waited for it before it starts any of it.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_cancelled_while_its_agent_was_away_never_runs() {
    let mut stack = Stack::new(&["one"]).await;
    assert!(stack.process("one").stop().success());
    let mut tasks = Vec::new();
    for _ in 0..10 {
        tasks.push(stack.send(noting(&stack, "ran")).await);
    }
    stack.until_relayed().await;
    for task in &tasks {
        let path = format!("/api/tasks/{}/cancel", id(task));
        assert_eq!(stack.call(Method::POST, &path, None).await.0, StatusCode::ACCEPTED);
    }
    stack.until_relayed().await;
    stack.process("one").restart();
    for task in &tasks {
        assert_eq!(outcomes(&stack, task).await, BTreeMap::from([("one".to_owned(), "cancelled".to_owned())]));
    }
    assert_eq!(runs(&stack, "ran"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn killing_any_one_program_loses_nothing() {
    let mut stack = Stack::new(&["one", "two"]).await;
    let names = ["muster-gateway", "muster-inventory", "muster-tasks", "muster-result-ingestor", "one"];
    for name in names {
        let file = format!("ran-{name}");
        let before = stack.send(noting(&stack, &file)).await;
        stack.process(name).kill();
        stack.process(name).restart();
        stack.until_healthy().await;
        let after = stack.send(noting(&stack, &file)).await;
        let (before, after) = (outcomes(&stack, &before).await, outcomes(&stack, &after).await);
        assert_eq!(after, succeeded(&["one", "two"]), "after {name}");
        // An agent that dies in the middle of a command says so, and does not run it again.
        let interrupted = before.values().filter(|state| *state == "interrupted").count();
        assert_eq!(
            before.values().filter(|state| *state == "succeeded").count() + interrupted,
            2,
            "{name}: {before:?}"
        );
        assert!(interrupted == 0 || name == "one", "{name}: {before:?}");
        assert!((4 - interrupted..=4).contains(&runs(&stack, &file)), "{name}: {} runs", runs(&stack, &file));
    }
    stack.stop();
}

/// Sends commands one after another while `fault` happens, and expects all of them to run once.
async fn under_load(stack: &Stack, hosts: &[&str], fault: impl AsyncFnOnce(), may_refuse: bool) {
    let sending = async {
        let mut tasks = Vec::new();
        for n in 0..30 {
            let command = noting(stack, "ran");
            let start = Instant::now();
            // The same key, so that asking again makes no second task.
            let task = loop {
                let request =
                    stack.request(Method::POST, "/api/commands").header("Idempotency-Key", format!("key-{n}"));
                let answer = request.json(&command).send().await.unwrap();
                if answer.status() == StatusCode::CREATED || answer.status() == StatusCode::OK {
                    break answer.json::<Value>().await.unwrap();
                }
                assert!(may_refuse, "{}: {}", answer.status(), answer.text().await.unwrap());
                assert!(answer.status().is_server_error(), "{}", answer.status());
                assert!(start.elapsed() < PATIENCE, "refused for too long");
                tokio::time::sleep(Duration::from_millis(50)).await;
            };
            tasks.push(task);
        }
        tasks
    };
    let (tasks, ()) = tokio::join!(sending, fault());
    for task in &tasks {
        assert_eq!(outcomes(stack, task).await, succeeded(hosts), "{}", stack.logs());
    }
    assert_eq!(runs(stack, "ran"), tasks.len() * hosts.len(), "each once on each");
}

fn host_of(url: &str) -> String {
    let rest = url.rsplit('@').next().unwrap();
    rest.split('/').next().unwrap().to_owned()
}

fn by(url: &str, proxy: &Proxy) -> String {
    url.replace(&host_of(url), &proxy.address.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_are_accepted_while_the_broker_is_away_and_go_out_later() {
    let mut proxy = None;
    let broker = std::env::var("MUSTER_TEST_BROKER_URL").unwrap_or_else(|_| "amqp://guest:guest@127.0.0.1:5672".into());
    let made = Proxy::to(&host_of(&broker)).await;
    let stack = Stack::by(&["one", "two"], |ways| {
        let proxy = proxy.insert(made);
        Ways { broker: by(&ways.broker, proxy), agents: by(&ways.agents, proxy), ..ways }
    })
    .await;
    let proxy = proxy.unwrap();
    let fault = async || {
        proxy.cut();
        let down =
            |health: &(StatusCode, Value)| health.1["detail"].as_str().is_some_and(|said| said.contains("broker"));
        let start = Instant::now();
        while !down(&stack.call(Method::GET, "/api/health", None).await) {
            assert!(start.elapsed() < PATIENCE, "health must tell that the broker is away");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        proxy.mend();
    };
    under_load(&stack, &["one", "two"], fault, false).await;
    stack.until_healthy().await;
    stack.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_plane_comes_back_with_its_database() {
    let server = std::env::var("MUSTER_TEST_DATABASE_URL").unwrap_or_else(|_| "mysql://root@127.0.0.1:3306".into());
    let proxy = Proxy::to(&host_of(&server)).await;
    let stack = Stack::by(&["one", "two"], |ways| Ways { database: by(&ways.database, &proxy), ..ways }).await;
    let fault = async || {
        proxy.cut();
        let start = Instant::now();
        while stack.call(Method::GET, "/api/health", None).await.0.is_success() {
            assert!(start.elapsed() < PATIENCE, "health must tell that the database is away");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        proxy.mend();
    };
    under_load(&stack, &["one", "two"], fault, true).await;
    stack.until_healthy().await;
    stack.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_of_every_service_do_each_thing_once() {
    let mut stack = Stack::new(&["one", "two"]).await;
    for name in ["muster-tasks", "muster-result-ingestor"] {
        let first = stack.process(name).launch.clone();
        let listen = format!("127.0.0.1:{}", free_port());
        let env = first
            .env
            .into_iter()
            .map(|(key, value)| if key == "MUSTER_LISTEN" { (key, listen.clone()) } else { (key, value) });
        let second = Launch { env: env.collect(), ..first };
        stack.processes.insert(format!("second {name}"), second.start());
    }
    let quiet = async || ();
    under_load(&stack, &["one", "two"], quiet, false).await;
    stack.stop();
}

#[test]
fn a_wrong_or_missing_setting_stops_the_start_with_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let database = ("MUSTER_DATABASE_URL", "mysql://u:geheim@127.0.0.1:1/d".to_owned());
    let broker = ("MUSTER_BROKER_URL", "amqp://u:geheim@127.0.0.1:1/v".to_owned());
    let listen = ("MUSTER_LISTEN", "127.0.0.1:0".to_owned());
    let cases = [
        ("muster-inventory", vec![listen.clone()], "MUSTER_DATABASE_URL"),
        ("muster-tasks", vec![listen.clone(), database.clone(), broker.clone()], "MUSTER_SIGNING_KEY_FILE"),
        ("muster-result-ingestor", vec![listen.clone(), database.clone()], "MUSTER_BROKER_URL"),
        ("muster-gateway", vec![("MUSTER_LISTEN", "nonsense".to_owned())], "MUSTER_LISTEN"),
        ("muster-gateway", vec![("MUSTER_LISTEN", "0.0.0.0:0".to_owned())], "MUSTER_API_TOKEN"),
        ("muster-gateway", vec![listen, ("MUSTER_TASKS_URL", "nonsense".to_owned())], "MUSTER_TASKS_URL"),
    ];
    for (place, (name, env, setting)) in cases.into_iter().enumerate() {
        let launch = Launch { name, arguments: Vec::new(), env, log: folder.path().join(place.to_string()) };
        assert_eq!(launch.run().code(), Some(2), "{name}: {}", launch.said());
        assert!(launch.said().contains(setting) && !launch.said().contains("geheim"), "{name}: {}", launch.said());
    }
    let version = Launch {
        name: "muster-tasks",
        arguments: vec!["--help".into()],
        env: Vec::new(),
        log: folder.path().join("help"),
    };
    assert!(version.run().success());
    assert!(version.said().contains("MUSTER_SIGNING_KEY_FILE") && !TOKEN.is_empty());
}
