//! What was seen from outside the plane.

use std::collections::BTreeMap;

use crate::clock::Time;
use crate::rules::invocation::Status;

/// What was seen from outside the plane, of any number of tasks.
#[derive(Clone, Debug, Default)]
pub struct Witness {
    /// Every time a command began to run, counted by the commands themselves. All of them are here: a
    /// command that is not here did not run.
    pub runs: Vec<Run>,
    /// The states in which an invocation was seen, in the order of looking, by task and hostname.
    pub history: BTreeMap<(String, String), Vec<Status>>,
}

/// A command began to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Of which task.
    pub task_id: String,
    /// On which server.
    pub hostname: String,
    /// When, by that server's clock, if that is known.
    pub at: Option<Time>,
}

impl Witness {
    /// The runs of a task on a server.
    pub fn runs_of<'a>(&'a self, task_id: &'a str, hostname: &'a str) -> impl Iterator<Item = &'a Run> {
        self.runs.iter().filter(move |run| run.task_id == task_id && run.hostname == hostname)
    }

    /// Notes in which state an invocation was seen. The same state again says nothing new.
    pub fn saw(&mut self, task_id: &str, hostname: &str, status: Status) {
        let seen = self.history.entry((task_id.to_owned(), hostname.to_owned())).or_default();
        if seen.last() != Some(&status) {
            seen.push(status);
        }
    }
}
