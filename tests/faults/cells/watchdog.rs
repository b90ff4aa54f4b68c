//! The watchdog dies in the middle of its verdicts, two of them work at once, and signed evidence
//! comes after they guessed. A command expires at the earliest 91 seconds after it was sent.

use std::time::Duration;

use futures::FutureExt as _;
use serde_json::json;
use shared::crash::Point;

use crate::caller::Work;
use crate::cell::{Cell, Ground, Lane};
use crate::rig::Rig;
use crate::verdict;

const TASKS: &str = "muster-tasks";
/// How long the watchdog leaves an agent that may have begun: the command's minute, and grace.
const LOST_WITHIN: Duration = Duration::from_secs(450);
/// How long `expired` may take.
const EXPIRED_WITHIN: Duration = Duration::from_secs(150);

pub fn lane() -> Lane {
    let cells = vec![guesses(), lost()];
    Lane { name: "watchdog", ground: Ground::Shared, cells }
}

/// Server `one` is away for good; server `two` runs the commands and cannot say so in time.
fn guesses() -> Cell {
    let what = "watchdog dies between states and counts, and before the commit; then two of them; late results";
    Cell::new("watchdog.written, states.advanced", what, |rig, _| {
        async {
            rig.kill("one");
            let before = rig.ran("two");
            for number in 0..6 {
                rig.caller
                    .post(Work::mixed(number), json!({ "expires_in": 1, "target_type": "node", "target": "one" }))
                    .await;
            }
            let running = json!({ "expires_in": 20, "target_type": "node", "target": "two" });
            rig.caller.post(Work::Muting(4_000), running).await;
            rig.until_ran("two", before + 1).await;
            rig.agents.cut();
            rig.arm(TASKS, Point::StatesAdvanced, 1);
            rig.dead(TASKS, Point::StatesAdvanced).await;
            rig.arm(TASKS, Point::WatchdogWritten, 1);
            rig.dead(TASKS, Point::WatchdogWritten).await;
            let second = rig.second(TASKS);
            rig.revive(TASKS);
            verdict::until_guessed(rig, EXPIRED_WITHIN).await;
            rig.stack.processes.remove(&second); // and with it it is killed
        }
        .boxed()
    })
    .decided_within(EXPIRED_WITHIN)
}

/// The command was seen running, and then nothing more was heard, until it is lost.
fn lost() -> Cell {
    let what = "agent away while a command runs, until it is lost; then its result";
    let cell = Cell::new("lost and found", what, |rig: &mut Rig, _| {
        async {
            let running = json!({ "expires_in": 5, "timeout": 10, "target_type": "node", "target": "two" });
            let posted = rig.caller.post(Work::Lasting(5_000), running).await;
            let path = format!("/api/tasks/{}", posted.task_id);
            rig.stack.until(&path, |task| task["counts"]["running"] == 1).await;
            rig.agents.cut();
            verdict::until_guessed(rig, LOST_WITHIN).await;
        }
        .boxed()
    });
    cell.only_full().decided_within(LOST_WITHIN)
}
