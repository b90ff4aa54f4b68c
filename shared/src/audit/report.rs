//! What came out of checking a task, in a form to be shown.

use serde::Serialize;

use super::{Invariant, Record, Violation, Witness};
use crate::clock::Time;

/// What came out of checking a task.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The task.
    pub task_id: String,
    /// Whether every promise was kept, as far as it could be checked.
    pub holds: bool,
    /// How many servers it was for.
    pub targets: i64,
    /// Whether nothing about it can change any more.
    #[serde(rename = "final")]
    pub is_final: bool,
    /// Each promise.
    pub checks: Vec<Check>,
}

/// What came out for one promise.
#[derive(Debug, Serialize)]
pub struct Check {
    /// Which one.
    pub invariant: Invariant,
    /// What was promised.
    pub promise: &'static str,
    /// What could not be checked, and why.
    pub unchecked: Option<&'static str>,
    /// Where it was not kept.
    pub violations: Vec<Violation>,
}

impl Report {
    /// Checks a task at the time `now`, by the plane's clock.
    pub fn of(record: &Record, witness: Option<&Witness>, now: Time) -> Self {
        let violations = super::check(record, witness, now);
        let check = |invariant| Check {
            invariant,
            promise: invariant.words(),
            unchecked: unchecked(invariant, record, witness),
            violations: violations.iter().filter(|violation| violation.invariant == invariant).cloned().collect(),
        };
        Self {
            task_id: record.task.task_id.clone(),
            holds: violations.is_empty(),
            targets: record.task.targets,
            is_final: record.task.is_final,
            checks: Invariant::OF_A_TASK.into_iter().map(check).collect(),
        }
    }
}

fn unchecked(invariant: Invariant, record: &Record, witness: Option<&Witness>) -> Option<&'static str> {
    match invariant {
        Invariant::I2 if witness.is_none() => Some("only the commands themselves can count how often they ran"),
        Invariant::I4 if record.evidence.is_none() => Some("there is no evidence"),
        Invariant::I5 if witness.is_none() => Some("nobody watched; only the timeline was checked"),
        Invariant::I6 if witness.is_none() => Some("nobody watched; only what the servers signed was checked"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn it_says_what_it_could_not_check() {
        let record = sample::record();
        let report = Report::of(&record, None, sample::LATER);
        let unchecked = |check: &&Check| check.unchecked.is_some();
        assert!(report.holds && report.checks.iter().filter(unchecked).count() == 3, "{report:?}");
        assert!(
            Report::of(&record, Some(&sample::witness()), sample::LATER).checks.iter().all(|c| c.unchecked.is_none())
        );
    }

    #[test]
    fn a_violation_stands_with_its_promise() {
        let mut record = sample::record();
        record.task.targets += 1;
        let report = Report::of(&record, None, sample::LATER);
        let broken: Vec<_> = report.checks.iter().filter(|check| !check.violations.is_empty()).collect();
        assert!(!report.holds && broken.len() == 1 && broken[0].invariant == Invariant::I1, "{report:?}");
    }
}
