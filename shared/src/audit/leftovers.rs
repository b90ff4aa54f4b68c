//! I7, I9 and I10: what is left behind once everything has healed and is over, and what went beyond
//! its limit on the way.

use std::collections::BTreeMap;

use super::Invariant::{self, I7, I9, I10};
use super::Violation;

/// What is left behind. Queues, spools and the like that were looked at and found empty may stand
/// here with 0.
#[derive(Clone, Debug, Default)]
pub struct Leftovers {
    /// Rows in the outbox.
    pub outbox: u64,
    /// Messages in each queue but that of the dead letters.
    pub queues: BTreeMap<String, u64>,
    /// Reports that each server's agent still holds.
    pub spools: BTreeMap<String, u64>,
    /// Dead letters that nobody planted, with their reasons.
    pub dead: Vec<String>,
    /// Processes of commands that are over, in words.
    pub processes: Vec<String>,
    /// What was measured on the way.
    pub bounds: Vec<Bound>,
}

/// Something that has a limit.
#[derive(Clone, Debug)]
pub struct Bound {
    /// What it is, with its unit, like `memory of the relay, MiB`.
    pub name: String,
    /// The most that was seen.
    pub seen: u64,
    /// The most that is allowed.
    pub limit: u64,
}

impl Leftovers {
    /// What should not be there.
    pub fn check(&self) -> Vec<Violation> {
        let mut found = Vec::new();
        let mut say = |invariant: Invariant, hostname: Option<&String>, what: String| {
            found.push(Violation { invariant, task_id: None, hostname: hostname.cloned(), what });
        };
        if self.outbox > 0 {
            say(I7, None, format!("the outbox has rows left: {}", self.outbox));
        }
        for (queue, messages) in self.queues.iter().filter(|(_, messages)| **messages > 0) {
            say(I7, None, format!("the queue {queue} has messages left: {messages}"));
        }
        for (hostname, reports) in self.spools.iter().filter(|(_, reports)| **reports > 0) {
            say(I7, Some(hostname), format!("its agent has reports left: {reports}"));
        }
        self.dead.iter().for_each(|reason| say(I7, None, format!("there is a dead letter: {reason}")));
        self.processes.iter().for_each(|process| say(I9, None, format!("a process outlived its command: {process}")));
        for Bound { name, seen, limit } in self.bounds.iter().filter(|bound| bound.seen > bound.limit) {
            say(I10, None, format!("{name}: {seen}, and at most {limit} is allowed"));
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clean() -> Leftovers {
        let zero = |name: &str| BTreeMap::from([(name.to_owned(), 0)]);
        let bound = Bound { name: "memory, MiB".to_owned(), seen: 12, limit: 12 };
        Leftovers { queues: zero("muster.results"), spools: zero("a"), bounds: vec![bound], ..Leftovers::default() }
    }

    fn found(change: impl FnOnce(&mut Leftovers)) -> Vec<(Invariant, String)> {
        let mut leftovers = clean();
        change(&mut leftovers);
        leftovers.check().into_iter().map(|violation| (violation.invariant, violation.to_string())).collect()
    }

    #[test]
    fn nothing_left_is_nothing_found() {
        assert!(clean().check().is_empty());
    }

    #[test]
    fn whatever_is_left_is_found() {
        let one = |name: &str| BTreeMap::from([(name.to_owned(), 1)]);
        for (left, invariant, words) in [
            (found(|left| left.outbox = 1), I7, "outbox"),
            (found(|left| left.queues = one("muster.results")), I7, "muster.results"),
            (found(|left| left.spools = one("a")), I7, "I7 a: its agent"),
            (found(|left| left.dead.push("unknown_task".to_owned())), I7, "unknown_task"),
            (found(|left| left.processes.push("sleep 60".to_owned())), I9, "sleep 60"),
            (found(|left| left.bounds[0].seen = 13), I10, "memory, MiB: 13"),
        ] {
            assert_eq!(left.len(), 1);
            assert!(left[0].0 == invariant && left[0].1.contains(words), "{left:?}");
        }
    }
}
