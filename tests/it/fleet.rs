//! `muster fleet` against a deployed plane: every simulated agent is heard, and nothing is left behind.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::process::Launch;
use crate::stack::{Stack, TOKEN};

/// `muster fleet` with these arguments.
fn fleet(stack: &Stack, arguments: &[&str]) -> Launch {
    let log = stack.folder.path().join(format!("fleet-{}.log", shared::id::random()));
    let env = vec![
        ("MUSTER_URL", stack.url("")),
        ("MUSTER_TOKEN", TOKEN.to_owned()),
        ("MUSTER_BROKER_URL", stack.vhost.agent_url()),
    ];
    let mut all = vec!["fleet", "--key-bits", "2048", "--json"];
    all.extend(arguments);
    Launch { name: "muster", arguments: all.into_iter().map(str::to_owned).collect(), env, log }
}

fn figures(launch: &Launch) -> Value {
    assert!(launch.run().success(), "{}", launch.said());
    serde_json::from_str(launch.said().trim()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_is_enrolled_heard_and_taken_back() {
    let stack = Stack::new(&[]).await;
    let keys = stack.folder.path().join("fleet-keys");
    let asked = ["--agents", "12", "--tasks", "2", "--keys", keys.to_str().unwrap()];
    for _ in 0..2 {
        // The second run uses the keys of the first.
        let figures = figures(&fleet(&stack, &asked));
        let tasks = figures["tasks"].as_array().unwrap();
        assert_eq!((tasks.len(), &figures["refused"]), (2, &json!(0)));
        for task in tasks {
            assert_eq!(task["succeeded"], 12, "{task}");
            assert!(task["answered_ms"].as_f64().unwrap() <= task["last_result_ms"].as_f64().unwrap(), "{task}");
            let task = stack.get(&format!("/api/tasks/{}", task["task_id"].as_str().unwrap())).await;
            assert_eq!(task["counts"], json!({ "succeeded": 12 }));
        }
        assert_eq!(stack.get("/api/servers").await, json!([]));
        stack.until_relayed().await;
    }
    assert_eq!(std::fs::read_dir(&keys).unwrap().count(), 12);
    stack.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_touches_no_server_that_is_not_its_own() {
    let stack = Stack::new(&[]).await;
    let server = json!({ "hostname": "db-1", "group": "fleet" });
    assert_eq!(stack.call(Method::POST, "/api/servers", Some(server)).await.0, StatusCode::CREATED);
    let refused = fleet(&stack, &["--agents", "2"]);
    assert_eq!(refused.run().code(), Some(2), "{}", refused.said());
    assert!(refused.said().contains("`db-1`") && refused.said().contains("--group"), "{}", refused.said());
    assert_eq!(stack.get("/api/servers").await.as_array().unwrap().len(), 1);
    assert_eq!(stack.get("/api/client-keys").await, json!([]));
    let kept = figures(&fleet(&stack, &["--agents", "2", "--group", "load", "--keep"]));
    assert_eq!(kept["tasks"][0]["succeeded"], 2);
    assert_eq!(stack.get("/api/servers").await.as_array().unwrap().len(), 3);
    // Their keys are gone with the run that made them, so another one must not take their places.
    let other = fleet(&stack, &["--agents", "2", "--group", "load"]);
    assert_eq!(other.run().code(), Some(2), "{}", other.said());
    assert!(other.said().contains("another key"), "{}", other.said());
    stack.stop();
}
