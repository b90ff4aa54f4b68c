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
