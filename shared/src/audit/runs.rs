//! I2 and I6: a command runs at most once on a server, does run where the plane says so, does not
//! where the plane says so, and never begins after its time.

use std::time::Duration;

use super::Invariant::{I2, I6};
use super::{Findings, Record, Witness};
use crate::clock::Time;
use crate::contract::task::Invocation;
use crate::rules::invocation::{DEADLINE_GRACE, Ending, Status};

/// How long it may take from the last look at the clock until the command itself can tell that it
/// runs.
const STARTING: Duration = Duration::from_secs(5);

pub fn check(record: &Record, witness: Option<&Witness>, found: &mut Findings) {
    for invocation in &record.invocations {
        let expires_at = expires_at(record, invocation);
        if let Some(at) = record.result(&invocation.hostname).and_then(|result| result.started_at) {
            in_time(at, expires_at, invocation, found);
        }
        let Some(witness) = witness else { continue };
        let runs: Vec<_> = witness.runs_of(&record.task.task_id, &invocation.hostname).collect();
        count(record, invocation, runs.len(), found);
        runs.iter().filter_map(|run| run.at).for_each(|at| in_time(at, expires_at, invocation, found));
    }
    let Some(witness) = witness else { return };
    for run in witness.runs.iter().filter(|run| run.task_id == record.task.task_id) {
        if record.invocation(&run.hostname).is_none() {
            found.host(I2, &run.hostname, "it ran there, and the server was never a target");
        }
    }
}

/// Nothing starts after this. It is the signed command's, which a server's deadline follows from.
fn expires_at(record: &Record, invocation: &Invocation) -> Time {
    let timeout = record.task.timeout.saturating_mul(1_000);
    let grace = i64::try_from(DEADLINE_GRACE.as_millis()).unwrap_or(i64::MAX);
    Time(invocation.deadline.0.saturating_sub(timeout).saturating_sub(grace))
}

fn in_time(at: Time, expires_at: Time, invocation: &Invocation, found: &mut Findings) {
    if at > expires_at.plus(STARTING) {
        found.host(I6, &invocation.hostname, format!("it began at {at}, and nothing may begin after {expires_at}"));
    }
}

fn count(record: &Record, invocation: &Invocation, runs: usize, found: &mut Findings) {
    let host = &invocation.hostname;
    if runs > 1 {
        found.host(I2, host, format!("it ran {runs} times"));
    }
    let status = invocation.status;
    if runs == 0 && status == Status::Succeeded {
        found.host(I2, host, "it is said to have succeeded, and never ran");
    }
    if runs > 0 && never_ran(record, invocation) {
        found.host(I2, host, format!("it ran, and is said to be {} without having run", status.as_str()));
    }
}

/// Whether the plane says that it did not run. What it only guesses, or what was interrupted, it does
/// not say that of.
fn never_ran(record: &Record, invocation: &Invocation) -> bool {
    let result = record.result(&invocation.hostname);
    match invocation.status {
        Status::Skipped | Status::Rejected => true,
        Status::Cancelled => result.is_none_or(|result| result.started_at.is_none()),
        _ => result.is_some_and(|result| result.started_at.is_none() && result.status != Ending::Interrupted),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Run;
    use super::super::sample::{self, broken};
    use super::*;

    fn ran(witness: &mut Witness, hostname: &str) {
        let at = Some(sample::STARTED);
        witness.runs.push(Run { task_id: sample::TASK.to_owned(), hostname: hostname.to_owned(), at });
    }

    #[test]
    fn a_second_run_is_found() {
        assert!(broken(I2, |_, witness| ran(witness, "ok")).contains("ran 2 times"));
    }

    #[test]
    fn a_run_of_what_must_not_run_is_found() {
        for hostname in ["skipped", "withdrawn", "rejected", "stopped"] {
            let said = broken(I2, |_, witness| ran(witness, hostname));
            assert!(said.contains("without having run"), "{hostname}: {said}");
        }
        assert!(broken(I2, |_, witness| ran(witness, "stranger")).contains("never a target"));
    }

    #[test]
    fn a_success_without_a_run_is_found() {
        let said = broken(I2, |_, witness| witness.runs.retain(|run| run.hostname != "ok"));
        assert!(said.contains("never ran"));
    }

    #[test]
    fn what_is_only_guessed_may_have_run() {
        for hostname in ["expired", "lost", "undeliverable", "interrupted"] {
            let (record, mut witness) = (sample::record(), sample::witness());
            ran(&mut witness, hostname);
            assert_eq!(super::super::check(&record, Some(&witness), sample::LATER), [], "{hostname}");
        }
    }

    #[test]
    fn a_late_start_is_found_in_what_was_seen_and_in_what_was_signed() {
        let late = sample::record().task.expires_at.plus(STARTING).plus(Duration::from_millis(1));
        assert!(broken(I6, |_, witness| witness.runs[0].at = Some(late)).contains("began"));
        let mut record = sample::record();
        record.results[0].started_at = Some(late);
        let found = super::super::check(&record, None, sample::LATER);
        assert!(found.iter().any(|violation| violation.invariant == I6), "{found:?}");
    }
}
