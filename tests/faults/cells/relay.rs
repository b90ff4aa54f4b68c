//! The relay dies at each step of a message's way. What it had leased is published half a minute
//! later, so these cells take their time, in lanes of their own.

use futures::FutureExt as _;
use serde_json::json;
use shared::crash::Point;

use super::strike;
use crate::cell::{Cell, Ground, Lane};
use crate::rig::COMMANDS_MAX;

const TASKS: &str = "muster-tasks";
const AGENT: &str = "one";
/// Less than two leases.
const NOT_HANDED_OVER_SECS: u32 = 59;

pub fn lanes() -> [Lane; 2] {
    let early = vec![
        strike(TASKS, Point::RelayHanded, "relay dies with what was handed over, before the publish"),
        leased(),
        strike(TASKS, Point::RelaySent, "relay dies after the publish, before the confirm"),
        strike(TASKS, Point::RelaySettled, "relay dies after the mark"),
    ];
    let late = vec![
        strike(TASKS, Point::RelayConfirmed, "relay dies after the confirm, before the mark"),
        strike(TASKS, Point::RelayWritten, "relay dies before the mark's commit"),
        requeued(),
        queue_deleted(),
    ];
    [("relay, early", early), ("relay, late", late)].map(|(name, cells)| Lane { name, ground: Ground::Shared, cells })
}

/// With commands that live so short that they are not handed over.
fn leased() -> Cell {
    Cell::new(Point::RelayLeased.name(), "relay dies after the lease, before the publish", |rig, repetition| {
        async move {
            rig.arm(TASKS, Point::RelayLeased, 1 + repetition % 3);
            let sending = rig.caller.sending_with(COMMANDS_MAX, json!({ "expires_in": NOT_HANDED_OVER_SECS }));
            rig.dead(TASKS, Point::RelayLeased).await;
            rig.revive(TASKS);
            sending.stop().await;
        }
        .boxed()
    })
}

fn requeued() -> Cell {
    Cell::new(
        Point::RelayRequeued.name(),
        "queue deleted; relay dies after the requeue, before the declare",
        |rig, _| {
            async {
                rig.kill(AGENT);
                rig.send(2).await;
                rig.stack.until_relayed().await;
                rig.arm(TASKS, Point::RelayRequeued, 1);
                rig.stack.until_healthy().await;
                let queue = format!("muster.agent.{AGENT}");
                rig.steer("delete_queue", &[&queue]);
                let sending = rig.caller.sending(1); // comes back, so the queue is declared
                rig.dead(TASKS, Point::RelayRequeued).await;
                rig.revive(TASKS);
                sending.done().await;
            }
            .boxed()
        },
    )
}

fn queue_deleted() -> Cell {
    Cell::new("queue deleted", "an agent's queue is deleted with commands in it", |rig, _| {
        async {
            rig.kill(AGENT);
            rig.send(4).await;
            rig.stack.until_relayed().await;
            rig.steer("delete_queue", &[&format!("muster.agent.{AGENT}")]);
            rig.send(1).await;
        }
        .boxed()
    })
}
