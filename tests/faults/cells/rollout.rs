//! The roll-out dies around the commit of a wave: the next one goes on from the database, and every
//! server runs the command once.

use std::sync::Arc;

use futures::FutureExt as _;
use serde_json::json;
use shared::crash::Point;

use crate::caller::Work;
use crate::cell::{Cell, Ground, Lane};

const TASKS: &str = "muster-tasks";

pub fn lane() -> Lane {
    let cells = vec![
        waves(Point::RolloutSigned, "roll-out dies with a signed wave, before it is stored"),
        waves(Point::RolloutWritten, "roll-out dies before a wave's commit"),
        waves(Point::RolloutCommitted, "roll-out dies after a wave's commit, before the relay is rung for"),
    ];
    Lane { name: "roll-out", ground: Ground::Shared, cells }
}

/// One server at a time, so that the second wave waits for the first one's result.
fn waves(point: Point, what: &'static str) -> Cell {
    Cell::new(point.name(), what, move |rig, _| {
        async move {
            rig.arm(TASKS, point, 1);
            let caller = Arc::clone(&rig.caller);
            let posting = tokio::spawn(async move {
                for work in [Work::Quick, Work::Lasting(500)] {
                    caller.post(work, json!({ "max_concurrency": 1, "max_errors": "100%" })).await;
                }
            });
            rig.dead(TASKS, point).await;
            rig.revive(TASKS);
            posting.await.unwrap();
        }
        .boxed()
    })
}
