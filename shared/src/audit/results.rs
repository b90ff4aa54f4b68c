//! I3 and I4: exactly one stored result for each state that a server signed, none for any other, and
//! each of them says what its signed bytes say.

use std::collections::BTreeSet;

use super::Invariant::{I3, I4};
use super::{Findings, Record, evidence};
use crate::clock::Time;
use crate::contract::signed::ResultReport;
use crate::contract::task::{Evidence, Invocation, ResultEvidence, TaskResult};
use crate::rules::invocation::Status;
use crate::sign::stored_payload;

pub fn check(record: &Record, found: &mut Findings) {
    let mut seen = BTreeSet::new();
    for result in &record.results {
        if !seen.insert(result.hostname.as_str()) {
            found.host(I3, &result.hostname, "it has a result twice");
        }
        if record.invocation(&result.hostname).is_none() {
            found.host(I3, &result.hostname, "it has a result, and was never a target");
        }
    }
    for invocation in &record.invocations {
        one(invocation, record.result(&invocation.hostname), found);
    }
    if let Some(evidence) = &record.evidence {
        signed(record, evidence, found);
    }
}

fn one(invocation: &Invocation, result: Option<&TaskResult>, found: &mut Findings) {
    let (host, status) = (&invocation.hostname, invocation.status);
    match result {
        None if is_signed(invocation) => {
            found.host(I3, host, format!("it is {}, and its result is not stored", status.as_str()));
        }
        None if invocation.exit_code.is_some() => found.host(I3, host, "it has an exit code, and no result"),
        None => (),
        Some(result) if status != result.status.into() => {
            let signed = Status::from(result.status).as_str();
            found.host(I3, host, format!("it signed {signed}, and is called {}", status.as_str()));
        }
        Some(result) if invocation.exit_code != Some(result.exit_code) => {
            found.host(I3, host, "its invocation and its result have different exit codes");
        }
        Some(_) => (),
    }
}

/// Whether its state is one that only a server can have signed: of the final ones, the plane itself
/// only skips, and cancels what it never sent.
fn is_signed(invocation: &Invocation) -> bool {
    let reached = [invocation.sent_at, invocation.accepted_at, invocation.running_at];
    match invocation.status {
        Status::Skipped => false,
        Status::Cancelled => reached.iter().any(Option::is_some),
        status => status.rank() == 5,
    }
}

fn signed(record: &Record, evidence: &Evidence, found: &mut Findings) {
    let report = evidence::check(evidence, None);
    if let Some(reason) = report.command {
        found.task(I4, format!("its signed command does not hold: {reason}"));
    }
    for finding in report.results {
        if let Some(reason) = finding.reason {
            found.host(I4, &finding.hostname, format!("its signed result does not hold: {reason}"));
        }
    }
    for result in &record.results {
        match evidence.results.iter().find(|signed| signed.hostname == result.hostname) {
            None => found.host(I4, &result.hostname, "it has a result, and nothing that it signed"),
            Some(signed) if !says(signed, result) => {
                found.host(I4, &result.hostname, "its result says something else than what it signed");
            }
            Some(_) => (),
        }
    }
    for signed in &evidence.results {
        if record.result(&signed.hostname).is_none() {
            found.host(I3, &signed.hostname, "it signed a result that is not listed");
        }
    }
}

/// Whether a result is what its server signed.
fn says(signed: &ResultEvidence, shown: &TaskResult) -> bool {
    let Some(envelope) = &signed.envelope else { return shown.output_removed };
    let Ok(body) = stored_payload::<ResultReport>(envelope.get()) else { return false };
    body.iss == shown.hostname
        && body.task_id == shown.task_id
        && body.status == shown.status
        && body.exit_code == shown.exit_code
        && body.signal == shown.signal
        && body.stdout == shown.stdout
        && body.stderr == shown.stderr
        && body.finished_at == shown.timestamp
        && body.started_at.map(Time) == shown.started_at
}

#[cfg(test)]
mod tests {
    use super::super::sample::broken;
    use super::*;
    use crate::rules::invocation::Ending;

    #[test]
    fn a_result_too_few_or_too_many_is_found() {
        assert!(broken(I3, |record, _| drop(record.results.remove(0))).contains("not stored"));
        assert!(broken(I3, |record, _| record.results.push(record.results[0].clone())).contains("twice"));
        let stray = |record: &mut Record, hostname: &str| {
            record.results.push(TaskResult { hostname: hostname.to_owned(), ..record.results[0].clone() });
        };
        assert!(broken(I3, |record, _| stray(record, "stranger")).contains("never a target"));
        assert!(broken(I3, |record, _| stray(record, "lost")).contains("is called lost"));
        assert!(broken(I3, |record, _| stray(record, "skipped")).contains("is called skipped"));
    }

    #[test]
    fn what_the_plane_cancelled_has_no_result_and_what_a_server_cancelled_has_one() {
        assert!(broken(I3, |record, _| record.results.retain(|r| r.hostname != "stopped")).contains("not stored"));
    }

    #[test]
    fn a_state_that_is_not_what_was_signed_is_found() {
        assert!(broken(I3, |record, _| record.results[0].status = Ending::TimedOut).contains("signed timed_out"));
        assert!(broken(I3, |record, _| record.invocations[1].exit_code = Some(77)).contains("exit codes"));
    }

    #[test]
    fn evidence_that_does_not_hold_is_found() {
        let evidence = |record: &mut Record| record.evidence.take().unwrap();
        let swapped = broken(I4, |record, _| {
            let mut evidence = evidence(record);
            let (keyid, pem) = (evidence.results[1].keyid.clone(), evidence.results[1].public_key_pem.clone());
            (evidence.results[0].keyid, evidence.results[0].public_key_pem) = (keyid, pem);
            record.evidence = Some(evidence);
        });
        assert!(swapped.contains("another key"), "{swapped}");
        let lost = broken(I4, |record, _| {
            let mut evidence = evidence(record);
            evidence.results.remove(0);
            record.evidence = Some(evidence);
        });
        assert!(lost.contains("nothing that it signed"), "{lost}");
        assert!(broken(I4, |record, _| record.results[0].stdout.push('!')).contains("something else"));
    }

    #[test]
    fn a_command_that_does_not_hold_is_found() {
        let said = broken(I4, |record, _| {
            let evidence = record.evidence.as_mut().unwrap();
            evidence.commands[0].signing_key.keyid = "sha256:0".to_owned();
        });
        assert!(said.contains("signed command does not hold"), "{said}");
    }
}
