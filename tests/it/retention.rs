//! What is kept and what goes, step by step over both databases.

mod plans;

use std::time::Duration;

use serde_json::{Value, json};
use shared::config::Keep;
use shared::contract::server::NewServer;
use shared::contract::signed::Kind;
use shared::rules::invocation::Ending;
use shared::store;
use tasks::Retention;

use crate::steps::{Parts, START, digest, over_both, result};

const DAY: Duration = Duration::from_secs(24 * 3_600);
/// Steps after which something must have come to its end.
const STEPS_MAX: usize = 50;

impl Parts {
    fn retention(&self, keep: Keep) -> Retention {
        Retention::new(self.ctx.clone(), keep)
    }

    /// Lets it go on until there is nothing left to do. Returns how many steps that took.
    async fn retain(&self, keep: Keep) -> usize {
        let retention = self.retention(keep);
        for step in 1..=STEPS_MAX {
            if !retention.step().await.unwrap() {
                return step;
            }
        }
        panic!("there is always more to do");
    }

    /// A task whose one server has succeeded, and the digest of its command.
    async fn done(&self) -> (String, String) {
        let body = json!({ "target_type": "node", "target": "a", "command": "true" });
        let task = self.call("POST", "/api/commands", body).await["task_id"].as_str().unwrap().to_owned();
        self.relay().await;
        let digest = digest(&self.take().await[0], self.ctx.clock.now());
        self.report(Kind::Result, &result(&task, &digest, Ending::Succeeded, "out")).await;
        self.ingest().await;
        (task, digest)
    }

    async fn post_as(&self, key: &str, body: &Value) -> String {
        self.ask("POST", "/api/commands", Some(key), body).await["task_id"].as_str().unwrap().to_owned()
    }

    /// What an auditor gets of the one result.
    async fn evidence(&self, task: &str) -> Value {
        self.call("GET", &format!("/api/tasks/{task}/evidence"), Value::Null).await["results"][0].clone()
    }

    async fn shows(&self, task: &str) -> bool {
        let shown = self.call("GET", &format!("/api/tasks/{task}"), Value::Null).await;
        assert!(shown["task_id"] == task || shown["detail"] == "there is no task with this id", "{shown}");
        let results = self.results(task).await;
        assert_eq!(results.is_array(), shown["task_id"] == task, "one is as visible as the other: {results}");
        shown["task_id"] == task
    }

    async fn listed(&self) -> Vec<String> {
        let list = self.call("GET", "/api/tasks", Value::Null).await;
        list.as_array().unwrap().iter().map(|task| task["task_id"].as_str().unwrap().to_owned()).collect()
    }

    /// How many rows there are of tasks, removals, invocations, results and conflicts.
    async fn rows(&self) -> [i64; 5] {
        let rows: (i64, i64, i64, i64, i64) = shared::read!(&self.ctx.db, c => sqlx::query_as(
            "select (select count(*) from tasks), (select count(*) from removals), (select count(*) from invocations),
                    (select count(*) from results), (select count(*) from result_conflicts)").fetch_one(c).await)
        .unwrap();
        [rows.0, rows.1, rows.2, rows.3, rows.4]
    }

    /// A task for `hosts` more servers that was cancelled before it was sent, and so is final.
    async fn large(&self, hosts: usize) -> String {
        let mut tx = self.ctx.db.begin().await.unwrap();
        for n in 0..hosts {
            let server = NewServer { hostname: format!("b{n:05}"), ip: None, group: Some("large".into()) };
            store::server::insert(&mut tx, &server, START).await.unwrap();
        }
        tx.commit().await.unwrap();
        let body = json!({ "target_type": "group", "target": "large", "command": "true" });
        let task = self.call("POST", "/api/commands", body).await["task_id"].as_str().unwrap().to_owned();
        let cancelled = self.call("POST", &format!("/api/tasks/{task}/cancel"), Value::Null).await;
        assert_eq!(cancelled["final"], true, "{cancelled}");
        task
    }
}

async fn what_is_too_old_goes_with_all_that_hangs_on_it(parts: Parts) {
    let (old, digest) = parts.done().await;
    parts.report(Kind::Result, &result(&old, &digest, Ending::Failed, "a contradiction")).await;
    parts.ingest().await;
    assert_eq!(parts.rows().await, [1, 0, 1, 1, 1]);
    parts.ctx.clock.advance(2 * DAY);
    let (young, _) = parts.done().await;
    assert_eq!(parts.retain(Keep::new(3, 0, 0)).await, 1);
    assert!(parts.shows(&old).await, "nothing is too old yet");
    parts.ctx.clock.advance(DAY + Duration::from_millis(1));
    parts.retain(Keep::new(3, 0, 0)).await;
    assert!(!parts.shows(&old).await && parts.shows(&young).await);
    assert_eq!((parts.listed().await, parts.rows().await), (vec![young], [1, 0, 1, 1, 0]));
    parts.report(Kind::Result, &result(&old, &digest, Ending::Succeeded, "out")).await;
    parts.ingest().await;
    assert_eq!(parts.dead().await, ["unknown_task"], "a late report about it");
    assert_eq!(parts.rows().await, [1, 0, 1, 1, 0]);
}
over_both!(what_is_too_old_goes_with_all_that_hangs_on_it);

async fn of_too_many_the_newest_stay(parts: Parts) {
    let mut tasks = Vec::new();
    for _ in 0..5 {
        tasks.push(parts.done().await.0);
    }
    parts.retain(Keep::new(0, 5, 0)).await;
    assert_eq!(parts.listed().await.len(), 5);
    parts.retain(Keep::new(0, 3, 0)).await;
    tasks.reverse();
    assert_eq!(parts.listed().await, tasks[..3]);
    assert_eq!(parts.rows().await, [3, 0, 3, 3, 0]);
}
over_both!(of_too_many_the_newest_stay);

async fn several_at_once_remove_no_more_than_one(parts: Parts) {
    for _ in 0..30 {
        parts.done().await;
    }
    let all: Vec<_> = (0..4).map(|_| parts.retention(Keep::new(0, 10, 0))).collect();
    for _ in 0..3 {
        for stepped in futures::future::join_all(all.iter().map(Retention::step)).await {
            stepped.unwrap();
        }
    }
    assert_eq!(parts.rows().await, [10, 0, 10, 10, 0]);
}
over_both!(several_at_once_remove_no_more_than_one);

async fn what_may_still_change_stays(parts: Parts) {
    let task = parts.send().await;
    parts.relay().await;
    let digest = digest(&parts.take().await[0], START);
    let keep = Keep::new(1, 1, 1);
    parts.done().await; // or one would not be too many
    parts.ctx.clock.advance(2 * DAY);
    parts.retain(keep).await;
    assert_eq!(parts.state(&task).await, "sent", "it is open, and the watchdog has not decided it");
    parts.watchdog().await;
    parts.retain(keep).await;
    assert_eq!(parts.state(&task).await, "expired", "and may be overruled");
    parts.ctx.clock.advance(5 * DAY);
    parts.retain(keep).await;
    parts.report(Kind::Result, &result(&task, &digest, Ending::Succeeded, "late")).await;
    parts.ingest().await;
    assert_eq!(parts.state(&task).await, "succeeded");
    parts.retain(keep).await;
    assert_eq!(parts.rows().await, [0, 0, 0, 0, 0], "now nothing more is expected of it");
}
over_both!(what_may_still_change_stays);

async fn what_was_never_heard_of_goes_eight_days_after_its_deadline(parts: Parts) {
    let task = parts.send().await;
    parts.ctx.clock.advance(2 * DAY);
    parts.watchdog().await;
    let deadline = Duration::from_secs(3_600 + 30 + 400);
    parts.ctx.clock.advance(6 * DAY + deadline);
    parts.retain(Keep::new(1, 0, 0)).await;
    assert!(parts.shows(&task).await);
    parts.ctx.clock.advance(Duration::from_millis(1));
    parts.retain(Keep::new(1, 0, 0)).await;
    assert!(!parts.shows(&task).await);
}
over_both!(what_was_never_heard_of_goes_eight_days_after_its_deadline);

async fn outputs_go_first_and_their_going_is_told(parts: Parts) {
    let (task, digest) = parts.done().await;
    let before = parts.evidence(&task).await;
    assert!(before["envelope"].is_object());
    parts.ctx.clock.advance(DAY);
    parts.retain(Keep::new(0, 0, 1)).await;
    assert_eq!(parts.results(&task).await[0]["output_removed"], false);
    parts.ctx.clock.advance(Duration::from_millis(1));
    parts.retain(Keep::new(0, 0, 1)).await;
    let shown = parts.results(&task).await[0].clone();
    assert_eq!(shown["output_removed"], true, "{shown}");
    assert_eq!((&shown["stdout"], &shown["status"], &shown["exit_code"]), (&json!(""), &json!("succeeded"), &json!(0)));
    assert_eq!((&shown["task_id"], &shown["hostname"]), (&json!(task), &json!("a")));
    let after = parts.evidence(&task).await;
    assert_eq!((&after["envelope"], &after["digest"]), (&Value::Null, &before["digest"]));
    assert_eq!((&after["proof"], &after["keyid"]), (&before["proof"], &before["keyid"]));
    assert_eq!(parts.state(&task).await, "succeeded");
    // What comes again is still known by its digest, and what contradicts it is still found out.
    parts.report(Kind::Result, &result(&task, &digest, Ending::Succeeded, "out")).await;
    parts.ingest().await;
    assert_eq!(parts.rows().await, [1, 0, 1, 1, 0]);
    parts.report(Kind::Result, &result(&task, &digest, Ending::Failed, "other")).await;
    parts.ingest().await;
    assert_eq!(parts.rows().await, [1, 0, 1, 1, 1]);
}
over_both!(outputs_go_first_and_their_going_is_told);

async fn a_large_task_goes_at_once_for_the_eye_and_in_pieces_for_the_database(parts: Parts) {
    let task = parts.large(1_200).await;
    parts.ctx.clock.advance(2 * DAY);
    let (young, _) = parts.done().await;
    let keep = Keep::new(1, 0, 0);
    assert!(parts.retention(keep).step().await.unwrap(), "there is more");
    assert!(!parts.shows(&task).await);
    assert_eq!(parts.listed().await, std::slice::from_ref(&young));
    assert_eq!(parts.rows().await, [1, 1, 1_201, 1, 0]);
    // As after a crash: nothing is remembered but what the database holds.
    for left in [701, 201] {
        assert!(parts.retention(keep).step().await.unwrap());
        assert_eq!(parts.rows().await, [1, 1, left, 1, 0]);
    }
    parts.watchdog().await;
    parts.relay().await;
    assert!(!parts.retention(keep).step().await.unwrap());
    assert_eq!(parts.rows().await, [1, 0, 1, 1, 0]);
    assert!(parts.shows(&young).await);
}
over_both!(a_large_task_goes_at_once_for_the_eye_and_in_pieces_for_the_database);

async fn an_idempotency_key_goes_with_its_task(parts: Parts) {
    let body = json!({ "target_type": "all", "command": "true" });
    let first = parts.post_as("k", &body).await;
    assert_eq!(parts.post_as("k", &body).await, first);
    parts.call("POST", &format!("/api/tasks/{first}/cancel"), Value::Null).await;
    parts.ctx.clock.advance(2 * DAY);
    parts.retain(Keep::new(1, 0, 0)).await;
    let second = parts.post_as("k", &body).await;
    assert_ne!(second, first);
    assert_eq!(parts.listed().await, [second]);
}
over_both!(an_idempotency_key_goes_with_its_task);
