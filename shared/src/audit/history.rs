//! I5: a state never goes back, and what a server signed is never replaced.

use super::Invariant::I5;
use super::{Findings, Record, Witness};
use crate::contract::task::Invocation;
use crate::rules::invocation::Status;

pub fn check(record: &Record, witness: Option<&Witness>, found: &mut Findings) {
    for invocation in &record.invocations {
        timeline(invocation, found);
        let key = (record.task.task_id.clone(), invocation.hostname.clone());
        let Some(seen) = witness.and_then(|witness| witness.history.get(&key)) else { continue };
        let states: Vec<_> = seen.iter().copied().chain([invocation.status]).collect();
        states.windows(2).for_each(|pair| step(&invocation.hostname, pair[0], pair[1], found));
    }
}

fn step(hostname: &str, before: Status, after: Status, found: &mut Findings) {
    if before != after && before.rank() >= after.rank() {
        found.host(I5, hostname, format!("it was {}, and then {}", before.as_str(), after.as_str()));
    }
}

/// The timeline keeps a guess beside what overruled it, and no other state stands there.
fn timeline(invocation: &Invocation, found: &mut Findings) {
    let (host, status) = (&invocation.hostname, invocation.status);
    match invocation.provisional_status {
        Some(guess) if !guess.is_provisional() => {
            found.host(I5, host, format!("its history has {} as a guess of the plane", guess.as_str()));
        }
        Some(guess) if status.is_open() || status.is_provisional() && status != guess => {
            found.host(I5, host, format!("it was {}, and is {} now", guess.as_str(), status.as_str()));
        }
        None if status.is_provisional() => {
            found.host(I5, host, format!("it is {}, and its history does not say so", status.as_str()));
        }
        _ => (),
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::{TASK, broken, reopen};
    use super::*;

    #[test]
    fn a_state_that_went_back_is_found() {
        for (seen, end) in [(Status::Lost, "skipped"), (Status::Succeeded, "failed"), (Status::Failed, "lost")] {
            let said = broken(I5, |_, witness| {
                witness.saw(TASK, end, Status::Queued);
                witness.saw(TASK, end, seen);
                witness.saw(TASK, end, Status::Running);
            });
            assert!(said.contains(&format!("it was {}", seen.as_str())), "{said}");
        }
    }

    #[test]
    fn a_guess_instead_of_evidence_is_found() {
        let said = broken(I5, |_, witness| witness.saw(TASK, "lost", Status::Succeeded));
        assert_eq!(said, "it was succeeded, and then lost");
    }

    #[test]
    fn a_timeline_that_contradicts_itself_is_found() {
        let guess = |record: &mut Record, hostname: &str, guess| {
            let mut hosts = record.invocations.iter_mut();
            hosts.find(|invocation| invocation.hostname == hostname).unwrap().provisional_status = guess;
        };
        let reopened = broken(I5, |record, _| {
            reopen(record, "expired", Status::Sent);
            guess(record, "expired", Some(Status::Expired));
        });
        assert_eq!(reopened, "it was expired, and is sent now");
        assert!(broken(I5, |record, _| guess(record, "lost", Some(Status::Expired))).contains("was expired"));
        assert!(broken(I5, |record, _| guess(record, "lost", None)).contains("does not say"));
        assert!(broken(I5, |record, _| guess(record, "ok", Some(Status::Sent))).contains("as a guess"));
    }
}
