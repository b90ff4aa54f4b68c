//! The main job: a command reaches its servers, runs there once, and its signed result comes back.

use serde_json::json;

use crate::harness::{id, world};

#[tokio::test(flavor = "multi_thread")]
async fn a_command_to_all_runs_everywhere_and_comes_back() {
    let world = world(&["web-1", "web-2", "db-1"]).await;
    let task = world.send_all("echo hello from $MUSTER_HOSTNAME; echo oops >&2; exit 3").await;
    assert_eq!(task["status"], "sent");
    let mut results = world.results(&task).await;
    results.sort_by_key(|result| result["hostname"].to_string());
    let hosts: Vec<_> = results.iter().map(|result| result["hostname"].as_str().unwrap()).collect();
    assert_eq!(hosts, ["db-1", "web-1", "web-2"]);
    assert_eq!(results[1]["stdout"], "hello from web-1\n");
    assert_eq!(results[1]["stderr"], "oops\n");
    assert_eq!(results[1]["exit_code"], 3);
    assert_eq!(results[1]["status"], "failed");
    let task = world.get(&format!("/api/tasks/{}", id(&task))).await;
    assert_eq!((task["status"].as_str(), task["final"].as_bool()), (Some("failed"), Some(true)));
    assert_eq!(task["counts"], json!({ "failed": 3 }));
    world.stop().await;
}

/// A bad command meets one server only; the others are spared, and a retry in waves mends them all.
#[tokio::test(flavor = "multi_thread")]
async fn a_roll_out_stops_at_the_first_failure_and_a_retry_reaches_the_rest() {
    let world = world(&["web-1", "web-2", "web-3", "web-4"]).await;
    let (mended, runs) = (world.file("mended"), world.file("runs"));
    let command = format!("printf '%s\\n' \"$MUSTER_HOSTNAME\" >> {}; test -e {}", runs.display(), mended.display());
    let command = json!({ "target_type": "all", "command": command, "max_concurrency": "25%", "max_errors": 0 });
    let task = world.send(command).await;
    assert_eq!(world.results(&task).await.len(), 1);
    let path = format!("/api/tasks/{}", id(&task));
    assert_eq!(world.get(&path).await["counts"], json!({ "failed": 1, "skipped": 3 }));
    std::fs::write(&mended, "").unwrap();
    let (status, again) = world.call(reqwest::Method::POST, &format!("{path}/retry"), None).await;
    assert_eq!((status, &again["retry_of"]), (reqwest::StatusCode::CREATED, &task["task_id"]));
    assert_eq!(world.results(&again).await.len(), 4);
    let again = format!("/api/tasks/{}", id(&again));
    assert_eq!(world.get(&again).await["counts"], json!({ "succeeded": 4 }));
    let evidence = world.get(&format!("{again}/evidence")).await;
    assert_eq!(evidence["commands"].as_array().unwrap().len(), 4, "a signed command a wave");
    let ran = std::fs::read_to_string(&runs).unwrap();
    let times = |name: &str| ran.lines().filter(|line| *line == name).count();
    assert_eq!(["web-1", "web-2", "web-3", "web-4"].map(times), [2, 1, 1, 1], "{ran}");
    world.stop().await;
}
