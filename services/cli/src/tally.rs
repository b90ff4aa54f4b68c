//! A task's counts in words.

use shared::contract::task::Task;
use shared::rules::invocation::Status;

use crate::outcome::words;

/// How many of a task's invocations have no end yet.
pub fn open(task: &Task) -> i64 {
    let is_open = |name: &str| Status::parse(name).is_some_and(Status::is_open);
    task.counts.iter().filter(|(name, _)| is_open(name)).map(|(_, count)| count).sum()
}

/// `3 succeeded, 1 failed`, in the order of a life.
pub fn tally(task: &Task) -> String {
    let count = |name| task.counts.get(name).map(|count| format!("{count} {}", words(name)));
    let counts: Vec<_> = Status::ALL.into_iter().map(Status::as_str).filter_map(count).collect();
    if counts.is_empty() { "no servers".to_owned() } else { counts.join(", ") }
}
