//! Commands and tasks, and what is told of them: results, invocations, evidence.

use http::{Method, StatusCode};
use serde_json::{Value, json};
use shared::contract::signed::{Command, ResultReport};
use shared::sign::stored_payload;

use super::times;
use crate::harness::{World, id, world};

#[tokio::test(flavor = "multi_thread")]
async fn a_command_to_nobody_is_a_task_that_is_done() {
    let world = world(&[]).await;
    let task = world.send_all("ls -la").await;
    assert_eq!((&task["status"], &task["target"], &task["targets"]), (&json!("sent"), &json!(null), &json!(0)));
    let path = format!("/api/tasks/{}", id(&task));
    let read = world.get(&path).await;
    assert_eq!((&read["status"], &read["final"], &read["counts"]), (&json!("succeeded"), &json!(true), &json!({})));
    for list in ["results", "invocations"] {
        assert_eq!(world.get(&format!("{path}/{list}")).await, json!([]));
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_out_has_its_default_and_what_is_asked_is_shown() {
    let world = world(&[]).await;
    let server = json!({ "hostname": "web-1", "group": "前端" });
    world.ask(Method::POST, "/api/servers", Some(&server)).await.json(StatusCode::CREATED);
    let task = world.send(json!({ "target_type": "node", "target": "WEB-1", "command": "ls" })).await;
    assert_eq!((&task["timeout"], &task["user"], &task["target"]), (&json!(30), &json!(null), &json!("web-1")));
    let asked = json!({ "target_type": "group", "target": "前端", "command": " ls\n", "timeout": 5, "user": "deploy",
                        "expires_in": 60 });
    let task = world.send(asked.clone()).await;
    for field in ["target_type", "target", "command", "timeout", "user"] {
        assert_eq!(task[field], asked[field], "{field}");
    }
    assert_eq!(task["targets"], 1);
    let trace = "0123456789abcdef0123456789abcdef";
    let request = world.request(Method::POST, "/api/commands").json(&asked);
    let request = request.header("traceparent", format!("00-{trace}-0123456789abcdef-01"));
    let traced = crate::answer::Answer::to(request).await.json(StatusCode::CREATED);
    assert_eq!(traced["trace_id"], trace);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_are_listed_from_the_newest_on_as_they_are_shown_alone() {
    let world = world(&[]).await;
    let mut made = Vec::new();
    for number in 0..10 {
        made.push(id(&world.send_all(&format!("echo {number}")).await).to_owned());
    }
    made.reverse();
    let tasks = world.get("/api/tasks").await;
    times::check(&tasks);
    assert_eq!(tasks.as_array().unwrap().iter().map(|task| id(task).to_owned()).collect::<Vec<_>>(), made);
    for task in tasks.as_array().unwrap() {
        assert_eq!(&world.get(&format!("/api/tasks/{}", id(task))).await, task);
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn results_come_by_time_and_invocations_by_name() {
    let world = world(&["a", "b", "c"]).await;
    let folder = tempfile::tempdir().unwrap();
    let go = folder.path().display();
    let waiting = format!("until [ -e {go}/$MUSTER_HOSTNAME ]; do sleep 0.02; done; echo out; echo err >&2; exit 7");
    let task = world.send_all(&waiting).await;
    // Later names end earlier here, so that an order by name could not pass for one by time.
    for (ended, host) in ["c", "b", "a"].into_iter().enumerate() {
        std::fs::write(folder.path().join(host), "").unwrap();
        world.until(&format!("/api/tasks/{}", id(&task)), |task| task["counts"]["failed"] == ended + 1).await;
    }
    let results = Value::from(world.results(&task).await);
    times::check(&results);
    assert_eq!(hosts(&results), ["c", "b", "a"]);
    for result in results.as_array().unwrap() {
        assert_eq!(result["task_id"], task["task_id"]);
        let said =
            json!([result["exit_code"], result["stdout"], result["stderr"], result["status"], result["truncated"]]);
        assert_eq!(said, json!([7, "out\n", "err\n", "failed", false]));
        assert_eq!((&result["stdout_bytes"], &result["stderr_bytes"]), (&json!(4), &json!(4)));
        assert!(result["started_at"].as_str() <= result["timestamp"].as_str());
    }
    let invocations = world.get(&format!("/api/tasks/{}/invocations", id(&task))).await;
    times::check(&invocations);
    assert_eq!(hosts(&invocations), ["a", "b", "c"]);
    for invocation in invocations.as_array().unwrap() {
        assert_eq!((&invocation["status"], &invocation["exit_code"]), (&json!("failed"), &json!(7)));
        assert!(invocation["queued_at"].is_string() && invocation["finished_at"].is_string());
    }
    evidence(&world, &task).await;
    world.stop().await;
}

fn hosts(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|item| item["hostname"].as_str().unwrap()).collect()
}

/// The signed bytes say what the API says.
async fn evidence(world: &World, task: &Value) {
    let evidence = world.get(&format!("/api/tasks/{}/evidence", id(task))).await;
    assert_eq!(evidence["task_id"], task["task_id"]);
    assert_eq!(json!([evidence["commands"][0]["signing_key"]]), world.get("/api/signing-keys").await);
    let command: Command = stored_payload(&evidence["commands"][0]["command"].to_string()).unwrap();
    assert_eq!((command.task_id.as_str(), command.command.as_str()), (id(task), task["command"].as_str().unwrap()));
    assert_eq!((command.targets.count, command.requested_by.as_str()), (3, "local"));
    assert_eq!(hosts(&evidence["results"]), ["c", "b", "a"]);
    for result in evidence["results"].as_array().unwrap() {
        let key = world.get(&format!("/api/client-keys/{}", result["hostname"].as_str().unwrap())).await;
        for field in ["keyid", "algorithm", "public_key_pem"] {
            assert_eq!(result[field], key[field], "{field}");
        }
        let report: ResultReport = stored_payload(&result["envelope"].to_string()).unwrap();
        assert_eq!((report.iss.as_str(), report.exit_code), (result["hostname"].as_str().unwrap(), 7));
        assert!(result["proof"]["index"].is_u64() && result["proof"]["hashes"].is_array());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_command_is_cancelled_and_a_finished_one_is_not() {
    let world = world(&["web-1"]).await;
    let task = world.send(json!({ "target_type": "all", "command": "sleep 60", "timeout": 60 })).await;
    let path = format!("/api/tasks/{}", id(&task));
    world.until(&path, |task| task["counts"]["running"] == 1).await;
    for _ in 0..2 {
        let asked = world.ask(Method::POST, &format!("{path}/cancel"), None).await;
        if asked.status != StatusCode::CONFLICT {
            assert!(asked.json(StatusCode::ACCEPTED)["cancel_requested_at"].is_string());
        }
    }
    let results = world.results(&task).await;
    assert_eq!((&results[0]["status"], &results[0]["exit_code"]), (&json!("cancelled"), &json!(143)));
    assert_eq!(world.get(&path).await["status"], "cancelled");
    let over = world.ask(Method::POST, &format!("{path}/cancel"), None).await.problem(StatusCode::CONFLICT);
    assert!(over.contains("cancelled"), "{over}");
    world.stop().await;
}
