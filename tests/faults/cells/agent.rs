//! The agent dies at each step of a command's way through it.

use futures::FutureExt as _;
use serde_json::json;
use shared::crash::Point;

use super::strike;
use crate::caller::Work;
use crate::cell::{Cell, Ground, Lane};

const AGENT: &str = "one";

pub fn lane() -> Lane {
    let steps = [
        (Point::AgentReceived, "agent dies before its journal knows"),
        (Point::AgentJournalled, "agent dies after the journal, before the ack"),
        (Point::AgentAdmitted, "agent dies after the start, before the ack"),
        (Point::AgentStarting, "agent dies after `starting`, before the fork"),
        (Point::AgentForked, "agent dies after the fork"),
        (Point::AgentMarked, "agent dies while the command runs"),
        (Point::AgentExited, "agent dies after the command's end, before the spool"),
        (Point::AgentSpooled, "agent dies after the spool, before the publish"),
        (Point::AgentSent, "agent dies after the publish, before the confirm"),
        (Point::AgentConfirmed, "agent dies after the confirm, before the mark"),
        (Point::AgentDelivered, "agent dies after the mark"),
    ];
    let mut cells: Vec<_> = steps.map(|(point, what)| strike(AGENT, point, what)).into();
    cells.extend([prepared(), interrupting(), forgetting()]);
    Lane { name: "agent", ground: Ground::Shared, cells }
}

fn prepared() -> Cell {
    Cell::new(
        Point::AgentPrepared.name(),
        "agent dies between a waiting command's `starting` and its fork",
        |rig, _| {
            async {
                // What waits in the queue at an attach is accepted first and started afterwards.
                rig.kill(AGENT);
                rig.send(5).await;
                rig.stack.until_relayed().await;
                rig.arm(AGENT, Point::AgentPrepared, 1);
                rig.dead(AGENT, Point::AgentPrepared).await;
                rig.revive(AGENT);
            }
            .boxed()
        },
    )
}

fn interrupting() -> Cell {
    Cell::new(Point::AgentInterrupting.name(), "agent dies again while it deals with its death", |rig, _| {
        async {
            let before = rig.ran(AGENT);
            rig.caller.post(Work::Lasting(30_000), json!({ "target_type": "node", "target": AGENT })).await;
            rig.until_ran(AGENT, before + 1).await;
            rig.arm(AGENT, Point::AgentInterrupting, 1);
            rig.dead(AGENT, Point::AgentInterrupting).await;
            rig.revive(AGENT);
        }
        .boxed()
    })
}

fn forgetting() -> Cell {
    Cell::new(Point::AgentForgetting.name(), "agent dies while its journal forgets", |rig, _| {
        async {
            rig.arm(AGENT, Point::AgentForgetting, 1); // it tidies when it starts
            rig.dead(AGENT, Point::AgentForgetting).await;
            rig.revive(AGENT);
            rig.send(4).await;
        }
        .boxed()
    })
}
