//! `Idempotency-Key`: a command that is sent again under its key is the same task, whatever happened
//! to the first answer.

use futures::future::join_all;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::harness::{World, id, until_file, world};

async fn send(world: &World, key: impl AsRef<[u8]>, command: &Value) -> Answer {
    let key = reqwest::header::HeaderValue::from_bytes(key.as_ref()).unwrap();
    Answer::to(world.request(Method::POST, "/api/commands").header("Idempotency-Key", key).json(command)).await
}

async fn tasks(world: &World) -> usize {
    world.get("/api/tasks").await.as_array().unwrap().len()
}

fn echo(text: &str) -> Value {
    json!({ "target_type": "all", "command": format!("echo {text}") })
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_at_once_and_more_later_are_one_task_that_runs_once() {
    let world = world(&["web-1"]).await;
    let file = world.file("runs");
    let command = json!({ "target_type": "all", "command": format!("echo run >> {}", file.display()) });
    let client = world.client();
    let sent = join_all((0..20).map(|_| client.post_once::<Value>("/api/commands", &command, "key"))).await;
    let ids: Vec<_> = sent.iter().map(|task| id(task.as_ref().unwrap())).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    let first = sent[0].as_ref().unwrap();
    assert_eq!(world.results(first).await.len(), 1);
    let later = send(&world, "key", &command).await.json(StatusCode::CREATED);
    assert_eq!((&later["task_id"], &later["created_at"]), (&first["task_id"], &first["created_at"]));
    assert_eq!(tasks(&world).await, 1);
    assert_eq!(until_file(&file, |text| !text.is_empty()).await, "run\n");
    let world = world.stop().await.start().await;
    let after = send(&world, "key", &command).await.json(StatusCode::CREATED);
    assert_eq!(after["task_id"], first["task_id"], "a restart forgets nothing");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_with_another_body_is_a_conflict() {
    let world = world(&[]).await;
    let task = send(&world, "key", &echo("a")).await.json(StatusCode::CREATED);
    let spaced = world.request(Method::POST, "/api/commands").header("Idempotency-Key", "key");
    let spaced = spaced.header("content-type", "application/json").body(format!(" {}", echo("a")));
    for other in [send(&world, "key", &echo("b")).await, Answer::to(spaced).await] {
        assert!(other.problem(StatusCode::CONFLICT).contains("`Idempotency-Key`"));
    }
    assert_eq!(world.get("/api/tasks").await[0]["task_id"], task["task_id"]);
    let racers = (0..20).map(|number| {
        let world = &world;
        async move { send(world, "race", &echo(&number.to_string())).await.status }
    });
    let won = join_all(racers).await.into_iter().filter(|status| *status == StatusCode::CREATED).count();
    assert_eq!((won, tasks(&world).await), (1, 2));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_short_visible_and_told_apart() {
    let world = world(&[]).await;
    let long = "k".repeat(256);
    for key in [&b""[..], long.as_bytes(), "schlüssel".as_bytes(), b"\xff", b"a\tb"] {
        let detail = send(&world, key, &echo("a")).await.problem(StatusCode::BAD_REQUEST);
        assert!(detail.contains("`Idempotency-Key`") && detail.contains("255"), "{detail}");
    }
    assert_eq!(tasks(&world).await, 0);
    for key in [&long[1..], "k", "K", "0"] {
        send(&world, key, &echo("a")).await.json(StatusCode::CREATED);
    }
    assert_eq!(tasks(&world).await, 4);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_key_each_request_is_a_task() {
    let world = world(&[]).await;
    let sent = join_all((0..10).map(|_| world.send(echo("a")))).await;
    let mut ids: Vec<_> = sent.iter().map(id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!((ids.len(), tasks(&world).await), (10, 10));
    world.stop().await;
}

/// What was refused used up no key.
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_leaves_the_key_free() {
    let world = world(&[]).await;
    let command = json!({ "target_type": "node", "target": "web-1", "command": "true" });
    send(&world, "key", &json!({ "target_type": "x" })).await.problem(StatusCode::BAD_REQUEST);
    send(&world, "key", &command).await.problem(StatusCode::NOT_FOUND);
    world.call(Method::POST, "/api/servers", Some(json!({ "hostname": "web-1" }))).await;
    send(&world, "key", &command).await.json(StatusCode::CREATED);
    assert_eq!(tasks(&world).await, 1);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_under_a_key_is_made_once_too() {
    let world = world(&["web-1"]).await;
    let task = world.send_all("false").await;
    assert_eq!(world.results(&task).await[0]["status"], "failed");
    let path = format!("/api/tasks/{}/retry", id(&task));
    let ask = || Answer::to(world.request(Method::POST, &path).header("Idempotency-Key", "again"));
    let sent = join_all((0..10).map(|_| ask())).await;
    let ids: Vec<_> = sent.iter().map(|answer| id(&answer.json(StatusCode::CREATED)).to_owned()).collect();
    assert!(ids.iter().all(|one| *one == ids[0] && one != id(&task)), "{ids:?}");
    assert_eq!(tasks(&world).await, 2);
    assert!(send(&world, "again", &echo("a")).await.problem(StatusCode::CONFLICT).contains("`Idempotency-Key`"));
    world.stop().await;
}
