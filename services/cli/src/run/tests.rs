//! Sending and following against a plane that plays a part.

use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use clap::Parser as _;
use serde_json::{Value, json};
use shared::clock::Time;
use shared::error::Kind;
use shared::http::client::Client;

use super::*;
use crate::terminal::tests::Paper;

const ID: &str = "0198f2b4c3d27a6e8b1f0c9d5e4a3b21";

/// The part: how the first attempts are answered, and how the task stands at each look.
struct Part {
    refusals: Vec<u16>,
    looks: Vec<Value>,
    keys: Vec<String>,
    invocations: Value,
    results: Value,
}

type Stage = State<Arc<Mutex<Part>>>;

fn task(counts: Value) -> Value {
    let targets: i64 = counts.as_object().unwrap().values().map(|count| count.as_i64().unwrap()).sum();
    let at = Time(0).to_string();
    json!({"task_id": ID, "target_type": "all", "target": null, "command": "uptime", "timeout": 30, "user": null,
        "status": "sent", "created_at": at, "expires_at": at, "deadline": at, "final": false, "targets": targets,
        "counts": counts, "cancel_requested_at": null, "trace_id": "0", "newer": true})
}

fn invocation(hostname: &str, status: &str, exit_code: i32) -> Value {
    let at = Time(0).to_string();
    json!({"task_id": ID, "hostname": hostname, "status": status, "exit_code": exit_code, "deadline": at,
        "attempts": 1, "queued_at": at})
}

fn result(hostname: &str, status: &str, exit_code: i32, stdout: &str) -> Value {
    let at = Time(0).to_string();
    json!({"task_id": ID, "exit_code": exit_code, "stdout": stdout, "stderr": "", "timestamp": at,
        "hostname": hostname, "status": status, "truncated": false, "stdout_bytes": 3, "stderr_bytes": 0, "received_at": at})
}

async fn accept(State(part): Stage, headers: HeaderMap) -> Response {
    let mut part = part.lock().unwrap();
    part.keys.push(headers["idempotency-key"].to_str().unwrap().to_owned());
    match part.refusals.pop() {
        Some(status) => (StatusCode::from_u16(status).unwrap(), Json(json!({"detail": "no"}))).into_response(),
        None => (StatusCode::CREATED, Json(part.looks[0].clone())).into_response(),
    }
}

async fn look(State(part): Stage) -> Json<Value> {
    let mut part = part.lock().unwrap();
    Json(if part.looks.len() > 1 { part.looks.remove(0) } else { part.looks[0].clone() })
}

/// Plays `part` while `line` is carried out; returns how that ended, and what was printed.
async fn play(line: &str, part: &Arc<Mutex<Part>>) -> (Result<Exit>, String) {
    let routes = Router::new()
        .route("/api/commands", post(accept))
        .route("/api/tasks/{id}", get(look))
        .route(
            "/api/tasks/{id}/invocations",
            get(async |State(part): Stage| Json(part.lock().unwrap().invocations.clone())),
        )
        .route("/api/tasks/{id}/results", get(async |State(part): Stage| Json(part.lock().unwrap().results.clone())))
        .with_state(Arc::clone(part));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(axum::serve(listener, routes).into_future());
    let paper = Paper::default();
    let client = Client::new(&url, None).unwrap();
    let session = Session { client, json: line.contains("--json"), out: paper.out(false), now: Time(0) };
    let words = line.split_whitespace().filter(|word| *word != "--json");
    let ended = run(Line::try_parse_from(words).unwrap().args, session).await;
    (ended, paper.read())
}

#[derive(clap::Parser)]
struct Line {
    #[command(flatten)]
    args: Args,
}

fn part(looks: &[Value]) -> Arc<Mutex<Part>> {
    Arc::new(Mutex::new(Part {
        refusals: Vec::new(),
        looks: looks.to_vec(),
        keys: Vec::new(),
        invocations: json!([invocation("a", "succeeded", 0), invocation("b", "failed", 2)]),
        results: json!([result("b", "failed", 2, "no\n"), result("a", "succeeded", 0, "up\n")]),
    }))
}

fn usual() -> [Value; 3] {
    [task(json!({"queued": 2})), task(json!({"succeeded": 1, "sent": 1})), task(json!({"succeeded": 1, "failed": 1}))]
}

#[tokio::test]
async fn a_task_is_followed_to_its_end() {
    let (ended, printed) = play("run --all -- uptime", &part(&usual())).await;
    assert_eq!(ended.unwrap(), Exit::Shortfall);
    let expected =
        format!("a: succeeded, exit 0\n  | up\nb: failed, exit 2\n  | no\ntask {ID}: 1 succeeded, 1 failed\n");
    assert_eq!(printed, expected);
}

#[tokio::test]
async fn every_host_succeeded_is_the_only_success() {
    let done = part(&[task(json!({"succeeded": 2}))]);
    assert_eq!(play("run --all -- uptime", &done).await.0.unwrap(), Exit::Success);
    let nobody = part(&[task(json!({}))]);
    nobody.lock().unwrap().invocations = json!([]);
    let (ended, printed) = play("run --all -- uptime", &nobody).await;
    assert_eq!(ended.unwrap(), Exit::Shortfall);
    assert!(printed.contains("no server"), "{printed}");
}

#[tokio::test]
async fn programs_get_one_document() {
    let (_, printed) = play("run --all --json -- uptime", &part(&usual())).await;
    let document: Value = serde_json::from_str(&printed).unwrap();
    let keys: Vec<_> = document.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["invocations", "results", "task"]);
    assert_eq!(document["task"]["newer"], true);
    let (_, printed) = play("run --all --no-wait --json -- uptime", &part(&usual())).await;
    assert_eq!(serde_json::from_str::<Value>(&printed).unwrap()["results"], json!([]));
}

#[tokio::test]
async fn trouble_is_met_with_the_same_key_again() {
    let part = part(&usual());
    part.lock().unwrap().refusals = vec![502, 503];
    let (ended, printed) = play("run --all --no-wait -- uptime", &part).await;
    assert_eq!((ended.unwrap(), printed), (Exit::Success, format!("{ID}\n")));
    let keys = part.lock().unwrap().keys.clone();
    assert!(keys.len() == 3 && keys.iter().all(|key| *key == keys[0]), "{keys:?}");
}

#[tokio::test]
async fn a_refusal_is_final_and_an_unknown_outcome_names_the_key() {
    for (status, kind) in [(400, Kind::BadInput), (404, Kind::NotFound), (409, Kind::Conflict)] {
        let part = part(&usual());
        part.lock().unwrap().refusals = vec![status];
        let error = play("run --node a -- uptime", &part).await.0.unwrap_err();
        assert_eq!((error.kind(), error.detail(), part.lock().unwrap().keys.len()), (kind, "no", 1));
    }
    let part = part(&usual());
    part.lock().unwrap().refusals = vec![500];
    let error = play("run --all --key k1 -- uptime", &part).await.0.unwrap_err();
    assert!(error.kind() == Kind::Internal && error.detail().contains("--key k1"), "{error}");
}

#[test]
fn words_become_one_command() {
    let line = |text: &str| command(&Line::try_parse_from(text.split_whitespace()).unwrap().args);
    let asked = line("run --group web --timeout 5 --user deploy --expires-in 60 -- echo a --json b");
    assert_eq!((asked.command.as_str(), asked.target.as_deref()), ("echo a --json b", Some("web")));
    assert_eq!((asked.timeout, asked.user.as_deref(), asked.expires_in), (Some(5), Some("deploy"), Some(60)));
    assert_eq!(line("run --node WEB-1 -- x").target.as_deref(), Some("web-1"));
}
