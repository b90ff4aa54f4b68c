//! The checker: whether what Muster promises of a task was kept. One for everybody: the simulator,
//! the faults on real processes, the soak, and an operator with `muster audit-task`.
//!
//! It is pure thought over two things. A [`Record`] is what the plane says: the task, its
//! invocations and results, and the signed evidence. A [`Witness`] is what others saw, who do not
//! read the plane's tables: above all how often each command really ran, counted by the commands
//! themselves. An operator has no witness, so fewer checks apply, and [`Report`] says which. What is
//! left behind once everything is over is no task's own and is checked once: [`Leftovers`].
//!
//! The audit chain (I8) is not there yet, so nothing checks it.

pub mod evidence;
mod history;
mod leftovers;
mod outcome;
mod record;
mod report;
mod results;
mod runs;
#[cfg(test)]
mod sample;
mod witness;

use std::fmt;

use serde::Serialize;

use crate::clock::Time;

pub use leftovers::{Bound, Leftovers};
pub use record::{Record, Source};
pub use report::{Check, Report};
pub use witness::{Run, Witness};

/// What must hold, whatever died in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Invariant {
    /// Accepted is never lost, and ends.
    I1,
    /// Nothing runs twice.
    I2,
    /// Each result is stored once.
    I3,
    /// Nothing unsigned is believed.
    I4,
    /// A state never goes back.
    I5,
    /// Nothing starts after its time.
    I6,
    /// Nothing is left behind in outbox, queues and spools.
    I7,
    /// Each privileged act has its record.
    I8,
    /// No process outlives its command.
    I9,
    /// Everything stays within its limits.
    I10,
}

impl Invariant {
    /// Those that one task's record can break.
    pub const OF_A_TASK: [Self; 6] = [Self::I1, Self::I2, Self::I3, Self::I4, Self::I5, Self::I6];

    /// What must hold, in plain words.
    pub const fn words(self) -> &'static str {
        match self {
            Self::I1 => "every server is accounted for, and decided by the deadline",
            Self::I2 => "no server ran it twice, and none that should not have",
            Self::I3 => "one stored result for each server that signed one",
            Self::I4 => "each result is signed by its server and answers this command",
            Self::I5 => "no state went back",
            Self::I6 => "nothing started after its time",
            Self::I7 => "nothing is left in outbox, queues and spools",
            Self::I8 => "each privileged act has its record",
            Self::I9 => "no process outlived its command",
            Self::I10 => "everything stayed within its limits",
        }
    }
}

/// A promise that was not kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// Which one.
    pub invariant: Invariant,
    /// Of which task, where it is one's.
    pub task_id: Option<String>,
    /// On which server, where it is one's.
    pub hostname: Option<String>,
    /// What is wrong, in one sentence.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.invariant)?;
        for place in [&self.task_id, &self.hostname].into_iter().flatten() {
            write!(f, " {place}")?;
        }
        write!(f, ": {}", self.what)
    }
}

/// Checks one task at the time `now`, by the plane's clock.
pub fn check(record: &Record, witness: Option<&Witness>, now: Time) -> Vec<Violation> {
    let mut found = Findings::of(&record.task.task_id);
    outcome::check(record, now, &mut found);
    results::check(record, &mut found);
    history::check(record, witness, &mut found);
    runs::check(record, witness, &mut found);
    found.violations
}

/// A task that was accepted with a 2xx, and that the plane does not know any more.
pub fn missing(task_id: &str) -> Violation {
    let what = "it was accepted, and the plane does not know it".to_owned();
    Violation { invariant: Invariant::I1, task_id: Some(task_id.to_owned()), hostname: None, what }
}

/// What the checks of one task write into.
struct Findings {
    task_id: String,
    violations: Vec<Violation>,
}

impl Findings {
    fn of(task_id: &str) -> Self {
        Self { task_id: task_id.to_owned(), violations: Vec::new() }
    }

    fn task(&mut self, invariant: Invariant, what: impl Into<String>) {
        let task_id = Some(self.task_id.clone());
        self.violations.push(Violation { invariant, task_id, hostname: None, what: what.into() });
    }

    fn host(&mut self, invariant: Invariant, hostname: &str, what: impl Into<String>) {
        let (task_id, hostname) = (Some(self.task_id.clone()), Some(hostname.to_owned()));
        self.violations.push(Violation { invariant, task_id, hostname, what: what.into() });
    }
}
