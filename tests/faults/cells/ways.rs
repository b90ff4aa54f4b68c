//! Ways that break: cut, half-open, slow, and torn in the middle of a frame.

use std::time::Duration;

use futures::FutureExt as _;

use crate::cell::{Cell, Ground, Lane};
use crate::proxy::{Proxy, Way};
use crate::rig::Rig;

/// How long a way is broken: long enough that heartbeats of 10 s notice a frozen one.
const BRIEFLY: Duration = Duration::from_secs(3);
const LONG: Duration = Duration::from_secs(25);
/// Commands that are sent meanwhile.
const COMMANDS: usize = 15;

/// A way by its ends.
type Which = (&'static str, fn(&Rig) -> &Proxy);

pub fn lane() -> Lane {
    let agents: Which = ("agents–broker", |rig| &rig.agents);
    let broker: Which = ("services–broker", |rig| &rig.broker);
    let database: Which = ("services–database", |rig| &rig.database);
    let mut cells = vec![
        broken(agents, Way::Torn, "torn", BRIEFLY),
        broken(broker, Way::Torn, "torn", BRIEFLY),
        broken(database, Way::Torn, "torn", BRIEFLY),
        broken(agents, Way::Slow, "slow", BRIEFLY),
        broken(database, Way::Slow, "slow", BRIEFLY),
        broken(broker, Way::Cut, "cut", BRIEFLY),
        broken(agents, Way::Frozen, "half-open", LONG),
        closed(),
    ];
    let long = [
        broken(broker, Way::Slow, "slow", LONG),
        broken(agents, Way::Cut, "cut", LONG),
        broken(database, Way::Cut, "cut", BRIEFLY),
        broken(broker, Way::Frozen, "half-open", LONG),
        broken(database, Way::Frozen, "half-open", LONG),
    ];
    cells.extend(long.map(Cell::only_full));
    Lane { name: "ways", ground: Ground::Shared, cells }
}

fn broken((name, which): Which, way: Way, how: &str, lasting: Duration) -> Cell {
    let what = "a way breaks under load";
    Cell::new(format!("{name} {how}, {} s", lasting.as_secs()), what, move |rig, _| {
        async move {
            let sending = rig.caller.sending(COMMANDS);
            tokio::time::sleep(Duration::from_millis(200)).await;
            which(rig).set(way);
            tokio::time::sleep(lasting).await;
            which(rig).set(Way::Open);
            sending.done().await;
        }
        .boxed()
    })
}

fn closed() -> Cell {
    Cell::new("broker closes connections", "`close_all_connections`, three times under load", |rig, _| {
        async {
            let sending = rig.caller.sending(COMMANDS);
            for _ in 0..3 {
                rig.steer("close_all_connections", &["the fault suite"]);
            }
            sending.done().await;
        }
        .boxed()
    })
}
