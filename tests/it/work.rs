//! What becomes of a command on its server: it runs as asked, ends when told, and is never run
//! twice; and what the plane says of it meanwhile.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::{Folder, id, until_file, world};

fn to(hostname: &str, command: &str) -> Value {
    json!({ "target_type": "node", "target": hostname, "command": command })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lasting_command_is_seen_running_and_can_be_cancelled() {
    let world = world(&["a"]).await;
    let task = world.send(to("a", "trap '' TERM; setsid sleep 1000 & echo started; sleep 1000")).await;
    let path = format!("/api/tasks/{}", id(&task));
    world.until(&path, |task| task["status"] == "running").await;
    let (status, cancelled) = world.call(Method::POST, &format!("{path}/cancel"), None).await;
    assert_eq!(status, StatusCode::ACCEPTED);
    assert!(cancelled["cancel_requested_at"].is_string());
    let (status, _) = world.call(Method::POST, &format!("{path}/cancel"), None).await;
    assert_eq!(status, StatusCode::ACCEPTED, "asking again changes nothing");
    let results = world.results(&task).await;
    assert_eq!(results[0]["status"], "cancelled");
    assert_eq!(results[0]["exit_code"], 143);
    assert_eq!(results[0]["stdout"], "started\n");
    let (status, error) = world.call(Method::POST, &format!("{path}/cancel"), None).await;
    assert_eq!(status, StatusCode::CONFLICT, "{error}");
    let invocations = world.get(&format!("{path}/invocations")).await;
    assert!(invocations[0]["running_at"].is_string() && invocations[0]["sent_at"].is_string());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_runs_too_long_is_killed() {
    let world = world(&["a"]).await;
    let mut command = to("a", "echo first; sleep 1000");
    command["timeout"] = json!(1);
    let task = world.send(command).await;
    let results = world.results(&task).await;
    assert_eq!((&results[0]["status"], &results[0]["exit_code"]), (&json!("timed_out"), &json!(124)));
    assert_eq!(results[0]["stdout"], "first\n");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_is_not_there_is_a_clear_rejection() {
    let world = world(&["a"]).await;
    let mut command = to("a", "true");
    command["user"] = json!("nobody-of-that-name");
    let task = world.send(command).await;
    let results = world.results(&task).await;
    assert_eq!((&results[0]["status"], &results[0]["exit_code"]), (&json!("rejected"), &json!(126)));
    assert!(results[0]["reason"].as_str().unwrap().contains("nobody-of-that-name"));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hosts_policy_has_the_last_word() {
    let mut folder = Folder::new(&["a"]);
    let policy = folder.path().join("policy.toml");
    std::fs::write(&policy, "enabled = true\n[[allow]]\nusers = [\"*\"]\ncommands = [\"echo yes\"]\n").unwrap();
    folder.settings.policy = Some(policy);
    let world = folder.start().await;
    let task = world.send(to("a", "echo yes")).await;
    assert_eq!(world.results(&task).await[0]["status"], "succeeded");
    let task = world.send(to("a", "echo yes; echo no")).await;
    let results = world.results(&task).await;
    assert_eq!(results[0]["status"], "rejected");
    assert!(results[0]["reason"].as_str().unwrap().contains("policy"), "{results:?}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_output_is_shortened_and_its_size_is_true() {
    let world = world(&["a"]).await;
    let task = world.send(to("a", "yes | head -c 3000000; printf end >&2")).await;
    let results = world.results(&task).await;
    assert_eq!((&results[0]["truncated"], &results[0]["stdout_bytes"]), (&json!(true), &json!(3_000_000)));
    assert!(results[0]["stdout"].as_str().unwrap().len() < 300_000);
    assert_eq!(results[0]["stderr"], "end");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_reaches_the_command() {
    let world = world(&["a"]).await;
    let request = world.http.post(world.url("/api/commands"));
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let task = request.header("traceparent", trace).json(&to("a", "echo $TRACEPARENT $MUSTER_TASK_ID")).send();
    let task: Value = task.await.unwrap().json().await.unwrap();
    assert_eq!(task["trace_id"], "0af7651916cd43dd8448eb211c80319c");
    let results = world.results(&task).await;
    let printed = results[0]["stdout"].as_str().unwrap();
    assert!(printed.starts_with("00-0af7651916cd43dd8448eb211c80319c-"), "{printed}");
    assert!(printed.trim_end().ends_with(id(&task)));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_commands_for_one_server_all_run_once() {
    let world = world(&["a"]).await;
    let log = world.file("runs");
    let mut tasks = Vec::new();
    for n in 0..60 {
        tasks.push(world.send(to("a", &format!("echo {n} >> {}", log.display()))).await);
    }
    for task in &tasks {
        assert_eq!(world.results(task).await[0]["status"], "succeeded");
    }
    let mut ran: Vec<u32> =
        until_file(&log, |text| text.lines().count() >= 60).await.lines().map(|line| line.parse().unwrap()).collect();
    ran.sort_unstable();
    assert_eq!(ran, (0..60).collect::<Vec<_>>());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_shows_real_load_and_goes_offline_with_its_agent() {
    let world = world(&["a"]).await;
    let server = world.until("/api/servers/a", |server| server["status"] == "online").await;
    assert!(server["memory_usage"].as_f64().unwrap() > 0.0);
    assert!((0.0..=100.0).contains(&server["cpu_usage"].as_f64().unwrap()));
    assert!(server["last_heartbeat"].is_string());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_accepted_waits_over_a_restart_until_its_agent_comes() {
    let world = world(&[]).await;
    let body = json!({ "hostname": "late" });
    assert_eq!(world.call(Method::POST, "/api/servers", Some(body)).await.0, StatusCode::CREATED);
    let task = world.send(to("late", "echo at last")).await;
    let path = format!("/api/tasks/{}/invocations", id(&task));
    world.until(&path, |list| list[0]["status"] == "sent").await;
    let mut folder = world.stop().await;
    folder.settings.agents = vec!["late".to_owned()];
    let world = folder.start().await;
    let results = world.results(&task).await;
    assert_eq!((&results[0]["status"], &results[0]["stdout"]), (&json!("succeeded"), &json!("at last\n")));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_overtakes_a_command_that_waits_for_its_agent() {
    let world = world(&[]).await;
    world.call(Method::POST, "/api/servers", Some(json!({ "hostname": "late" }))).await;
    let marker = world.file("ran");
    let task = world.send(to("late", &format!("touch {}", marker.display()))).await;
    let path = format!("/api/tasks/{}", id(&task));
    world.until(&format!("{path}/invocations"), |list| list[0]["status"] == "sent").await;
    assert_eq!(world.call(Method::POST, &format!("{path}/cancel"), None).await.0, StatusCode::ACCEPTED);
    let mut folder = world.stop().await;
    folder.settings.agents = vec!["late".to_owned()];
    let world = folder.start().await;
    let results = world.results(&task).await;
    assert_eq!((&results[0]["status"], &results[0]["exit_code"]), (&json!("cancelled"), &json!(125)));
    assert!(!marker.exists(), "it must not have run");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_a_server_leaves_no_task_open_for_ever() {
    let world = world(&[]).await;
    world.call(Method::POST, "/api/servers", Some(json!({ "hostname": "gone" }))).await;
    let task = world.send(to("gone", "true")).await;
    assert_eq!(world.call(Method::DELETE, "/api/servers/gone", None).await.0, StatusCode::NO_CONTENT);
    let task = world.get(&format!("/api/tasks/{}", id(&task))).await;
    let counts: i64 = task["counts"].as_object().unwrap().values().map(|count| count.as_i64().unwrap()).sum();
    assert_eq!(counts, 1, "the counts add up to the targets: {task}");
    assert!(task["deadline"].as_str().unwrap() > task["created_at"].as_str().unwrap());
    world.stop().await;
}
