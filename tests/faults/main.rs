//! The fault suite: the real programs over a real database and broker, and everything that can go
//! wrong between them. Each cell lets one fault happen while commands are sent, heals, waits until
//! every command is decided, and has the shared checker judge what came of it. How often a command
//! ran is counted by the command itself.
//!
//!     cargo test -p muster-tests --test faults                      the part that fits into every test run
//!     cargo test -p muster-tests --test faults -- relay 'kill -9'   the cells whose names hold one of these
//!     MUSTER_FAULTS=full cargo test -p muster-tests --test faults   every cell, 20 times
//!     cargo test -p muster-tests --test faults -- soak --help       random faults for an hour

#![expect(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says so")]

#[path = "../it/answer.rs"]
#[expect(dead_code, reason = "shared with the tests")]
mod answer;
mod caller;
mod cell;
mod cells;
mod certificates;
#[path = "../it/harness.rs"]
#[expect(dead_code, reason = "shared with the tests")]
mod harness;
#[path = "../it/mysql.rs"]
mod mysql;
#[path = "../it/process.rs"]
mod process;
#[path = "../it/proxy.rs"]
mod proxy;
#[path = "../sim/random.rs"]
#[expect(dead_code, reason = "shared with the simulator")]
mod random;
mod rig;
mod server;
mod soak;
#[path = "../it/stack.rs"]
#[expect(dead_code, reason = "shared with the tests")]
mod stack;
mod table;
mod verdict;
#[path = "../it/vhost.rs"]
mod vhost;

use std::process::ExitCode;

use futures::future::join_all;

use crate::cell::{Ground, Lane, Row};

/// How often each cell of the full matrix is played.
const REPETITIONS: u32 = 20;
/// Threads of the runtime: steering the broker blocks one for a second at a time.
const THREADS: usize = 16;

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(THREADS).enable_all().build().unwrap();
    let asked = async {
        match words.split_first() {
            Some((word, rest)) if word == "soak" => soak::run(rest).await,
            _ => matrix(&words).await,
        }
    };
    runtime.block_on(asked)
}

/// Plays the matrix, or those cells whose names hold one of the words. What else `cargo test` passes to
/// every test program is none of ours.
async fn matrix(words: &[String]) -> ExitCode {
    assert_eq!(cells::uncovered(), [""; 0], "each crash point has its cell");
    let is_full = std::env::var("MUSTER_FAULTS").is_ok_and(|value| value == "full");
    let names: Vec<_> = words.iter().filter(|word| !word.starts_with('-')).collect();
    let mut lanes = cells::lanes();
    for lane in &mut lanes {
        lane.cells.retain(|cell| match names.as_slice() {
            [] => is_full || !cell.only_full,
            names => names.iter().any(|name| cell.name.contains(name.as_str())),
        });
    }
    lanes.retain(|lane| !lane.cells.is_empty() && possible(lane));
    if words.iter().any(|word| word == "--list") {
        lanes.iter().flat_map(|lane| &lane.cells).for_each(|cell| println!("{}: test", cell.name));
        return ExitCode::SUCCESS;
    }
    let repetitions = if is_full { REPETITIONS } else { 1 };
    let rows: Vec<Row> = join_all(
        lanes.into_iter().map(|lane| async move { tokio::spawn(lane.play(repetitions, table::line)).await.unwrap() }),
    )
    .await
    .into_iter()
    .flatten()
    .collect();
    table::markdown(&rows);
    if rows.iter().all(|row| row.wrong.is_empty()) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Whether this machine has what a lane needs.
fn possible(lane: &Lane) -> bool {
    let missing = server::missing().filter(|_| lane.ground == Ground::Apart);
    if let Some(program) = missing {
        println!("NOT RUN: the cells of `{}`, for want of {program}", lane.name);
    }
    missing.is_none()
}
