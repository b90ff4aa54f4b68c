//! The matrix: which faults there are. A lane a file.

mod accept;
mod agent;
mod ingestor;
mod kills;
mod relay;
mod rollout;
mod servers;
mod watchdog;
mod ways;

use futures::FutureExt as _;
use shared::crash::Point;

use crate::cell::{Cell, Lane};

/// All lanes.
pub fn lanes() -> Vec<Lane> {
    let mut lanes = vec![watchdog::lane()]; // the longest first
    lanes.extend(relay::lanes());
    lanes.extend([
        rollout::lane(),
        servers::lane(),
        ways::lane(),
        kills::lane(),
        agent::lane(),
        ingestor::lane(),
        accept::lane(),
    ]);
    lanes
}

/// The crash points that no cell is for.
pub fn uncovered() -> Vec<&'static str> {
    let lanes = lanes();
    let names: Vec<_> = lanes.iter().flat_map(|lane| &lane.cells).map(|cell| cell.name.as_str()).collect();
    let points = Point::ALL.iter().map(|point| point.name());
    points.filter(|point| !names.iter().any(|name| name.contains(point))).collect()
}

/// A program that dies at a point while commands are sent, at a later passing with each repetition.
fn strike(victim: &'static str, point: Point, what: &'static str) -> Cell {
    Cell::new(point.name(), what, move |rig, repetition| {
        async move { rig.strike(victim, point, 1 + repetition % 3).await }.boxed()
    })
}
