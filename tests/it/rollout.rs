//! Roll-outs step by step, over both databases: waves go out, stop, go on after a restart, are
//! cancelled and run out of time; and whatever happens, the counts add up to the targets.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use shared::contract::server::NewServer;
use shared::contract::signed::Kind;
use shared::rules::invocation::{Ending, Event};
use shared::store;
use shared::store::invocation::Change;
use tasks::Rollout;

use crate::steps::{Parts, copy, keys, over_both, result};

/// How many servers there are.
const SERVERS: usize = 10;

/// A plane with ten servers: `a`, and `h1` to `h9`.
async fn fleet(parts: &Parts) {
    let mut tx = parts.ctx.db.begin().await.unwrap();
    for n in 1..SERVERS {
        let server = NewServer { hostname: format!("h{n}"), ip: None, group: None };
        store::server::insert(&mut tx, &server, parts.ctx.clock.now()).await.unwrap();
    }
    tx.commit().await.unwrap();
    for n in 1..SERVERS {
        parts.ctx.bus.declare(&format!("h{n}")).await.unwrap();
    }
}

fn rollout(parts: &Parts) -> Rollout {
    Rollout::new(parts.ctx.clone(), Arc::new(copy(&keys()[0])))
}

async fn step(parts: &Parts) {
    rollout(parts).step().await.unwrap();
    parts.relay().await;
}

async fn send(parts: &Parts, limits: Value) -> String {
    let mut command = json!({ "target_type": "all", "command": "true" });
    command.as_object_mut().unwrap().extend(limits.as_object().unwrap().clone());
    let task = parts.call("POST", "/api/commands", command).await;
    let id = task["task_id"].as_str().unwrap_or_else(|| panic!("{task}")).to_owned();
    parts.relay().await;
    id
}

/// The task, once its counts have been seen to add up and to say what its invocations say.
async fn look(parts: &Parts, task: &str) -> Value {
    let shown = parts.call("GET", &format!("/api/tasks/{task}"), Value::Null).await;
    let mut counted: BTreeMap<String, i64> = BTreeMap::new();
    for invocation in invocations(parts, task).await {
        *counted.entry(invocation["status"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    assert_eq!(shown["counts"], json!(counted), "{shown}");
    assert_eq!(counted.values().sum::<i64>(), shown["targets"].as_i64().unwrap());
    shown
}

async fn invocations(parts: &Parts, task: &str) -> Vec<Value> {
    let list = parts.call("GET", &format!("/api/tasks/{task}/invocations"), Value::Null).await;
    list.as_array().unwrap().clone()
}

/// The servers that have the command and have not answered.
async fn out(parts: &Parts, task: &str) -> Vec<String> {
    let is_out = |invocation: &Value| invocation["status"] == "sent" && invocation["wave"].is_number();
    let list = invocations(parts, task).await;
    list.iter().filter(|one| is_out(one)).map(|one| one["hostname"].as_str().unwrap().to_owned()).collect()
}

/// What the ingestor does when a server's result is believed.
async fn end(parts: &Parts, task: &str, hostname: &str, ending: Ending) {
    let mut tx = parts.ctx.db.begin().await.unwrap();
    let change = Change { key: (task.to_owned(), hostname.to_owned()), event: Event::Result(ending), reason: None };
    store::invocation::apply(&mut tx, vec![change], parts.ctx.clock.now()).await.unwrap();
    tx.commit().await.unwrap();
}

async fn held_rollouts(parts: &Parts) -> usize {
    store::rollout::page(&parts.ctx.db, "", 100).await.unwrap().len()
}

async fn a_bad_command_stops_after_its_first_wave(parts: Parts) {
    fleet(&parts).await;
    let task = send(&parts, json!({ "max_concurrency": "20%" })).await;
    let shown = look(&parts, &task).await;
    assert_eq!((&shown["max_concurrency"], &shown["max_errors"]), (&json!("20%"), &json!("0")));
    assert_eq!(shown["counts"], json!({ "sent": 2, "queued": 8 }));
    let held = invocations(&parts, &task).await.pop().unwrap();
    assert_eq!((&held["wave"], &held["reason"]), (&Value::Null, &json!("held back until earlier servers are done")));
    assert_eq!(held["deadline"], shown["deadline"], "what is held has the whole task's deadline");
    step(&parts).await;
    let first = out(&parts, &task).await;
    assert_eq!(first.len(), 2, "nothing is free yet");
    for hostname in &first {
        end(&parts, &task, hostname, Ending::Failed).await;
    }
    step(&parts).await;
    let shown = look(&parts, &task).await;
    assert_eq!(shown["counts"], json!({ "failed": 2, "skipped": 8 }));
    assert_eq!((&shown["status"], &shown["final"]), (&json!("failed"), &json!(true)));
    let skipped = invocations(&parts, &task).await.pop().unwrap();
    assert!(skipped["reason"].as_str().unwrap().contains("did not succeed"), "{skipped}");
    assert_eq!(held_rollouts(&parts).await, 0);
}
over_both!(a_bad_command_stops_after_its_first_wave);

/// Another plane over the same database goes on where the first one stopped: nothing is remembered.
async fn a_good_command_reaches_all_a_window_at_a_time(parts: Parts) {
    fleet(&parts).await;
    let task = send(&parts, json!({ "max_concurrency": 3, "max_errors": "10%" })).await;
    let mut digests = Vec::new();
    for round in 0..SERVERS {
        let servers = out(&parts, &task).await;
        assert!(servers.len() <= 3, "{servers:?}");
        let Some(hostname) = servers.first() else { break };
        // One failure of ten is allowed.
        end(&parts, &task, hostname, if round == 4 { Ending::Failed } else { Ending::Succeeded }).await;
        step(&parts).await;
        look(&parts, &task).await;
    }
    let shown = look(&parts, &task).await;
    assert_eq!(shown["counts"], json!({ "succeeded": 9, "failed": 1 }));
    for wave in store::wave::of_task(&parts.ctx.db, &task).await.unwrap() {
        digests.push(wave.command_digest);
    }
    let waves = digests.len();
    digests.sort();
    digests.dedup();
    assert_eq!(digests.len(), waves, "each wave has a command of its own");
    assert!(waves > 3, "{waves}");
    assert_eq!(held_rollouts(&parts).await, 0);
}
over_both!(a_good_command_reaches_all_a_window_at_a_time);

async fn two_steps_at_once_release_one_wave(parts: Parts) {
    fleet(&parts).await;
    let task = send(&parts, json!({ "max_concurrency": 2 })).await;
    for hostname in out(&parts, &task).await {
        end(&parts, &task, &hostname, Ending::Succeeded).await;
    }
    let (one, two, three) = (rollout(&parts), rollout(&parts), rollout(&parts));
    let (one, two, three) = tokio::join!(one.step(), two.step(), three.step());
    for stepped in [one, two, three] {
        stepped.unwrap();
    }
    parts.relay().await;
    assert_eq!(out(&parts, &task).await.len(), 2);
    assert_eq!(store::wave::of_task(&parts.ctx.db, &task).await.unwrap().len(), 2);
    look(&parts, &task).await;
}
over_both!(two_steps_at_once_release_one_wave);

async fn a_cancel_in_the_middle_takes_back_what_is_held_and_follows_what_is_out(parts: Parts) {
    fleet(&parts).await;
    let task = send(&parts, json!({ "max_concurrency": 2 })).await;
    let first = out(&parts, &task).await;
    end(&parts, &task, &first[1], Ending::Succeeded).await;
    step(&parts).await;
    assert_eq!(out(&parts, &task).await.len(), 2, "one of each wave");
    parts.call("POST", &format!("/api/tasks/{task}/cancel"), Value::Null).await;
    let shown = look(&parts, &task).await;
    assert_eq!(shown["counts"], json!({ "sent": 2, "succeeded": 1, "cancelled": 7 }));
    parts.relay().await;
    let taken = parts.take().await;
    assert_eq!(taken.len(), 2, "`a` has its command and the cancel of its wave");
    for wave in store::wave::of_task(&parts.ctx.db, &task).await.unwrap() {
        assert!(wave.cancel_envelope.is_some(), "wave {} is pursued", wave.wave);
    }
    step(&parts).await;
    assert_eq!(look(&parts, &task).await["counts"], shown["counts"], "nothing goes out any more");
    assert_eq!((held_rollouts(&parts).await, out(&parts, &task).await.len()), (0, 2));
}
over_both!(a_cancel_in_the_middle_takes_back_what_is_held_and_follows_what_is_out);

async fn what_is_held_when_the_time_is_over_is_spared(parts: Parts) {
    fleet(&parts).await;
    let limits = json!({ "max_concurrency": 2, "max_errors": "100%", "expires_in": 60, "rollout_expires_in": 100 });
    let task = send(&parts, limits).await;
    parts.ctx.clock.advance(Duration::from_secs(60 + 91));
    parts.watchdog().await;
    let shown = look(&parts, &task).await;
    assert_eq!(shown["counts"], json!({ "expired": 2, "queued": 8 }), "the held ones have a later deadline");
    step(&parts).await;
    let shown = look(&parts, &task).await;
    assert_eq!(shown["counts"], json!({ "expired": 2, "skipped": 8 }));
    let skipped = invocations(&parts, &task).await.pop().unwrap();
    assert!(skipped["reason"].as_str().unwrap().contains("time"), "{skipped}");
    assert_eq!(held_rollouts(&parts).await, 0);
}
over_both!(what_is_held_when_the_time_is_over_is_spared);

/// A server that is held back is no target of the wave that is out, though it is one of the task's.
async fn who_is_held_back_cannot_answer(parts: Parts) {
    let mut tx = parts.ctx.db.begin().await.unwrap();
    let server = NewServer { hostname: "0".into(), ip: None, group: None };
    store::server::insert(&mut tx, &server, parts.ctx.clock.now()).await.unwrap();
    tx.commit().await.unwrap();
    parts.ctx.bus.declare("0").await.unwrap();
    let task = send(&parts, json!({ "max_concurrency": 1 })).await;
    assert_eq!(out(&parts, &task).await, ["0"]);
    let wave = store::wave::of_task(&parts.ctx.db, &task).await.unwrap().remove(0);
    parts.report(Kind::Result, &result(&task, &wave.command_digest, Ending::Succeeded, "")).await;
    parts.ingest().await;
    assert_eq!(parts.dead().await, ["not_a_target"]);
    assert_eq!(look(&parts, &task).await["counts"], json!({ "sent": 1, "queued": 1 }));
}
over_both!(who_is_held_back_cannot_answer);

/// The deadline holds even where no roll-out is at work.
async fn the_watchdog_spares_what_nobody_did(parts: Parts) {
    fleet(&parts).await;
    let task = send(&parts, json!({ "max_concurrency": 2, "expires_in": 60, "rollout_expires_in": 60 })).await;
    parts.ctx.clock.advance(Duration::from_secs(60 + 30 + 400 + 1));
    parts.watchdog().await;
    assert_eq!(look(&parts, &task).await["counts"], json!({ "expired": 2, "skipped": 8 }));
    step(&parts).await;
    assert_eq!(held_rollouts(&parts).await, 0);
}
over_both!(the_watchdog_spares_what_nobody_did);

async fn a_retry_is_a_new_task_for_those_that_did_not_succeed(parts: Parts) {
    fleet(&parts).await;
    let task = send(&parts, json!({ "max_concurrency": 5, "expires_in": 600, "timeout": 7, "user": "deploy" })).await;
    let path = format!("/api/tasks/{task}/retry");
    let refused = parts.call("POST", &path, json!({})).await;
    assert!(refused["detail"].as_str().unwrap().contains("no outcome yet"), "{refused}");
    let first = out(&parts, &task).await;
    for hostname in &first {
        end(&parts, &task, hostname, if *hostname == first[0] { Ending::Failed } else { Ending::Succeeded }).await;
    }
    step(&parts).await;
    let again = parts.call("POST", &path, json!({})).await;
    assert_eq!((&again["retry_of"], &again["targets"]), (&json!(task), &json!(6)), "{again}");
    assert_eq!(
        (&again["timeout"], &again["user"], &again["max_concurrency"]),
        (&json!(7), &json!("deploy"), &json!("5"))
    );
    let again = again["task_id"].as_str().unwrap();
    parts.relay().await;
    let servers = out(&parts, again).await;
    assert!(servers.len() == 5 && servers.contains(&first[0]) && !servers.contains(&first[1]), "{servers:?}");
    for hostname in servers {
        end(&parts, again, &hostname, Ending::Succeeded).await;
    }
    step(&parts).await;
    for hostname in out(&parts, again).await {
        end(&parts, again, &hostname, Ending::Succeeded).await;
    }
    let shown = look(&parts, again).await;
    assert_eq!(shown["status"], "succeeded");
    let nothing = parts.call("POST", &format!("/api/tasks/{again}/retry"), json!({})).await;
    assert!(nothing["detail"].as_str().unwrap().contains("nothing to retry"), "{nothing}");
}
over_both!(a_retry_is_a_new_task_for_those_that_did_not_succeed);
