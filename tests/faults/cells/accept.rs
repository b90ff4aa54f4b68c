//! The API dies around a commit, and the caller, who cannot know, asks again under the same
//! `Idempotency-Key`: one task, whose command runs once.

use std::time::Duration;

use futures::FutureExt as _;
use futures::future::join_all;
use serde_json::json;
use shared::crash::Point;

use super::strike;
use crate::caller::Work;
use crate::cell::{Cell, Ground, Lane};

const TASKS: &str = "muster-tasks";
const GATEWAY: &str = "muster-gateway";

pub fn lane() -> Lane {
    let cells = vec![
        strike(TASKS, Point::AcceptTask, "API dies in the middle of the write"),
        strike(TASKS, Point::AcceptWritten, "API dies before the commit"),
        strike(TASKS, Point::AcceptCommitted, "API dies after the commit, before the answer"),
        gateway_in_the_middle(),
        asked_by_several(),
        cancelled(Point::CancelWritten, "API dies before a cancel's commit"),
        cancelled(Point::CancelCommitted, "API dies after a cancel's commit, before the answer"),
    ];
    Lane { name: "accept", ground: Ground::Shared, cells }
}

/// Answers are on their way when it dies.
fn gateway_in_the_middle() -> Cell {
    Cell::new("gateway mid answer", "gateway killed again and again under requests", |rig, _| {
        async {
            let sending = rig.caller.sending(20);
            for _ in 0..5 {
                tokio::time::sleep(Duration::from_millis(130)).await;
                rig.kill(GATEWAY);
                rig.revive(GATEWAY);
            }
            sending.done().await;
        }
        .boxed()
    })
}

/// Impatient callers ask several times at the same moment, while the API dies.
fn asked_by_several() -> Cell {
    Cell::new("one key, several requests", "five requests under one key; API killed meanwhile", |rig, _| {
        async {
            let before = rig.caller.posted().len();
            let caller = std::sync::Arc::clone(&rig.caller);
            let asking = tokio::spawn(async move {
                for _ in 0..4 {
                    let first = caller.post(Work::Quick, json!({})).await;
                    let again = join_all((0..5).map(|_| caller.again(&first))).await;
                    assert!(again.iter().all(|task_id| *task_id == first.task_id), "one key, two tasks: {again:?}");
                }
            });
            for _ in 0..2 {
                tokio::time::sleep(Duration::from_millis(150)).await;
                rig.kill(TASKS);
                rig.revive(TASKS);
            }
            asking.await.unwrap();
            assert_eq!(rig.caller.posted().len(), before + 4);
        }
        .boxed()
    })
}

fn cancelled(point: Point, what: &'static str) -> Cell {
    Cell::new(point.name(), what, move |rig, _| {
        async move {
            let before = rig.ran("one");
            let posted = rig.caller.post(Work::Lasting(55_000), json!({})).await;
            rig.until_ran("one", before + 1).await;
            rig.arm(TASKS, point, 1);
            let (caller, task_id) = (std::sync::Arc::clone(&rig.caller), posted.task_id);
            let cancelling = tokio::spawn(async move { caller.cancel(&task_id).await });
            rig.dead(TASKS, point).await;
            rig.revive(TASKS);
            cancelling.await.unwrap();
        }
        .boxed()
    })
}
