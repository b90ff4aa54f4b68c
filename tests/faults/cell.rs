//! A cell of the matrix: one fault, at one moment, over a plane at work. Cells of a lane share a
//! plane, one after another; lanes run side by side. A plane on which a cell failed is not used again.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::sync::Semaphore;

use crate::rig::Rig;
use crate::verdict::{self, DECIDED_WITHIN, Tally};

/// Planes that are started at a time: each is half a dozen processes.
const STARTING_MAX: usize = 2;

/// What a cell does to the plane. The number is that of the repetition, from 0.
type Fault = Arc<dyn for<'a> Fn(&'a mut Rig, u32) -> BoxFuture<'a, ()> + Send + Sync>;

/// One fault at one moment.
#[derive(Clone)]
pub struct Cell {
    pub name: String,
    /// What happens, in words.
    pub what: &'static str,
    /// Only in the full matrix: it takes long.
    pub only_full: bool,
    /// How long the plane may take to decide everything afterwards.
    pub decided_within: Duration,
    fault: Fault,
}

impl Cell {
    pub fn new<F>(name: impl Into<String>, what: &'static str, fault: F) -> Self
    where
        F: for<'a> Fn(&'a mut Rig, u32) -> BoxFuture<'a, ()> + Send + Sync + 'static,
    {
        let fault = Arc::new(fault);
        Self { name: name.into(), what, only_full: false, decided_within: DECIDED_WITHIN, fault }
    }

    pub fn only_full(self) -> Self {
        Self { only_full: true, ..self }
    }

    pub fn decided_within(self, decided_within: Duration) -> Self {
        Self { decided_within, ..self }
    }

    /// Lets it happen, heals, and judges.
    async fn play(&self, rig: &mut Rig, repetition: u32) -> Tally {
        let first = rig.caller.posted().len();
        (self.fault)(rig, repetition).await;
        rig.heal().await;
        verdict::judge(rig, first, self.decided_within).await
    }
}

/// How the plane of a lane is made.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Ground {
    /// On the servers of this machine.
    Shared,
    /// On a database server and a broker of its own.
    Apart,
}

/// Cells that share a plane.
pub struct Lane {
    pub name: &'static str,
    pub ground: Ground,
    pub cells: Vec<Cell>,
}

/// A line of the table.
pub struct Row {
    pub name: String,
    pub what: String,
    pub took: Duration,
    pub tally: Tally,
    /// Why it failed.
    pub wrong: Vec<String>,
}

impl Lane {
    /// Plays all cells, each so many times.
    pub async fn play(self, repetitions: u32, told: impl Fn(&Row)) -> Vec<Row> {
        let (mut rows, mut rig) = (Vec::new(), None);
        for (cell, repetition) in self.cells.iter().flat_map(|cell| (0..repetitions).map(move |n| (cell, n))) {
            let start = Instant::now();
            let attempt = AssertUnwindSafe(async {
                let mut this = match rig.take() {
                    Some(rig) => rig,
                    None => self.ground.rig().await,
                };
                let tally = AssertUnwindSafe(cell.play(&mut this, repetition)).catch_unwind().await;
                if tally.as_ref().is_ok_and(|tally| tally.violations.is_empty()) {
                    rig = Some(this);
                } else {
                    eprintln!("--- logs of {}\n{}", cell.name, this.stack.logs());
                }
                tally.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            });
            let row = row(&cell.name, cell.what, start, attempt.catch_unwind().await);
            told(&row);
            rows.push(row);
        }
        if let Some(rig) = rig {
            let start = Instant::now();
            let attempt = AssertUnwindSafe(close(rig)).catch_unwind().await;
            let row = row(
                &format!("{}: in the end", self.name),
                "nothing is left, everything stops in order",
                start,
                attempt,
            );
            told(&row);
            rows.push(row);
        }
        rows
    }
}

impl Ground {
    async fn rig(self) -> Rig {
        static TURNS: Semaphore = Semaphore::const_new(STARTING_MAX);
        let _turn = TURNS.acquire().await.unwrap();
        match self {
            Self::Shared => Rig::new(&["one", "two"]).await,
            Self::Apart => Rig::apart(&["one", "two"]).await,
        }
    }
}

/// Looks at what is left of a plane, and stops it.
async fn close(rig: Rig) -> Tally {
    let wrong = verdict::close(&rig).await;
    assert!(wrong.is_empty(), "{}", wrong.join("; "));
    let Rig { stack, servers, .. } = rig;
    stack.stop();
    drop(servers); // after what uses them
    Tally::default()
}

fn row(name: &str, what: &str, start: Instant, played: std::thread::Result<Tally>) -> Row {
    let (tally, wrong) = match played {
        Ok(tally) => {
            let wrong = tally.violations.iter().map(ToString::to_string).collect();
            (tally, wrong)
        }
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            (Tally::default(), vec![text.unwrap_or_else(|| "it panicked".to_owned())])
        }
    };
    Row { name: name.to_owned(), what: what.to_owned(), took: start.elapsed(), tally, wrong }
}
