//! I1: the counts of a task add up to its targets and to its invocations, and all of them are decided
//! once the deadline is over.

use std::collections::{BTreeMap, BTreeSet};

use super::Invariant::I1;
use super::{Findings, Record};
use crate::clock::Time;
use crate::contract::task::Invocation;
use crate::rules::invocation::Status;
use crate::rules::task::Counts;

pub fn check(record: &Record, now: Time, found: &mut Findings) {
    counts(record, found);
    summary(record, found);
    let mut seen = BTreeSet::new();
    for invocation in &record.invocations {
        if !seen.insert(invocation.hostname.as_str()) {
            found.host(I1, &invocation.hostname, "it is listed twice");
        }
        self::invocation(record, invocation, now, found);
    }
}

/// How many invocations stand where, by the list of them.
fn listed(record: &Record) -> Counts {
    let mut counts = Counts::default();
    record.invocations.iter().for_each(|invocation| counts.0[invocation.status as usize] += 1);
    counts
}

fn counts(record: &Record, found: &mut Findings) {
    let task = &record.task;
    let sum: i64 = task.counts.values().sum();
    if sum != task.targets {
        found.task(I1, format!("its counts add up to {sum}, and it has {} targets", task.targets));
    }
    let (told, listed): (&BTreeMap<_, _>, _) = (&task.counts, listed(record).by_name());
    if *told != listed {
        found.task(I1, format!("it counts {}, and its list has {}", words(told), words(&listed)));
    }
}

fn words(counts: &BTreeMap<String, i64>) -> String {
    if counts.is_empty() {
        return "nothing".to_owned();
    }
    counts.iter().map(|(status, count)| format!("{count} {status}")).collect::<Vec<_>>().join(", ")
}

/// The task's own words follow from its invocations.
fn summary(record: &Record, found: &mut Findings) {
    let (task, listed) = (&record.task, listed(record));
    if task.status != listed.status() {
        found.task(I1, format!("it is called {}, and is {}", task.status.as_str(), listed.status().as_str()));
    }
    if task.is_final != listed.is_final() {
        let word = |is_final| if is_final { "final" } else { "not final" };
        found.task(I1, format!("it is called {}, and is {}", word(task.is_final), word(listed.is_final())));
    }
}

fn invocation(record: &Record, invocation: &Invocation, now: Time, found: &mut Findings) {
    let (host, status) = (&invocation.hostname, invocation.status);
    if invocation.task_id != record.task.task_id {
        found.host(I1, host, format!("it belongs to another task, {}", invocation.task_id));
    }
    if status.is_open() && now > invocation.deadline {
        let what = format!("it is still {} after its deadline, {}", status.as_str(), invocation.deadline);
        found.host(I1, host, what);
    }
    if status.is_open() == invocation.finished_at.is_some() {
        let what = if status.is_open() { "it has an end, and is open" } else { "it has no time of its end" };
        found.host(I1, host, what);
    }
    if status == Status::Sent && invocation.sent_at.is_none() {
        found.host(I1, host, "it was sent, at no time");
    }
}

#[cfg(test)]
mod tests {
    use super::super::Invariant::I1;
    use super::super::sample::{self, broken};
    use super::*;

    #[test]
    fn what_is_sound_passes() {
        assert_eq!(super::super::check(&sample::record(), Some(&sample::witness()), sample::LATER), []);
    }

    #[test]
    fn counts_that_do_not_add_up_are_found() {
        assert!(broken(I1, |record, _| record.task.targets += 1).contains("targets"));
        assert!(broken(I1, |record, _| _ = record.task.counts.insert("queued".to_owned(), 1)).contains("add up"));
        assert!(broken(I1, |record, _| drop(record.invocations.pop())).contains("its list has"));
        assert!(broken(I1, |record, _| record.invocations.push(record.invocations[0].clone())).contains("list"));
    }

    #[test]
    fn a_summary_that_does_not_follow_is_found() {
        use crate::rules::task::Status;
        assert!(broken(I1, |record, _| record.task.status = Status::Succeeded).contains("called succeeded"));
        assert!(broken(I1, |record, _| record.task.is_final = !record.task.is_final).contains("final"));
    }

    #[test]
    fn what_stays_open_for_ever_is_found_and_what_may_be_open_is_not() {
        let open = |record: &mut Record| sample::reopen(record, "lost", Status::Running);
        assert!(broken(I1, |record, _| open(record)).contains("still running after its deadline"));
        let mut record = sample::record();
        open(&mut record);
        let deadline = record.task.deadline;
        assert_eq!(super::super::check(&record, Some(&sample::witness()), deadline), []);
    }

    #[test]
    fn another_task_s_invocation_is_found() {
        assert!(broken(I1, |record, _| record.invocations[0].task_id = "f".repeat(32)).contains("another task"));
        assert!(broken(I1, |record, _| record.invocations[0].finished_at = None).contains("no time"));
    }

    #[test]
    fn a_task_that_is_gone_is_named() {
        assert_eq!(super::super::missing("t").to_string(), "I1 t: it was accepted, and the plane does not know it");
    }
}
