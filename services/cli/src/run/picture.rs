//! What is known of a task while it is followed, and the document that `--json` prints of it.

use serde::Serialize;
use shared::contract::task::{Invocation, Task, TaskResult};
use shared::error::Result;
use shared::http::client::Client;

use crate::document::Document;
use crate::tally;

/// A task, its results and its invocations. The task is never newer than the rest: whatever it
/// calls finished has its result here.
#[derive(Serialize)]
pub struct Picture {
    /// The task.
    pub task: Document<Task>,
    /// What the servers signed.
    pub results: Vec<Document<TaskResult>>,
    /// Every server's state.
    pub invocations: Vec<Document<Invocation>>,
}

impl Picture {
    /// A task of which nothing else is known yet.
    pub fn of(task: Document<Task>) -> Self {
        Self { task, results: Vec::new(), invocations: Vec::new() }
    }

    /// Reads what has changed. The task is small and is read every time; the lists only when its
    /// counts have moved.
    pub async fn refresh(&mut self, client: &Client) -> Result<()> {
        let path = format!("/api/tasks/{}", self.task.task_id);
        let task: Document<Task> = client.get(&path).await?;
        if self.is_complete() && task.counts == self.task.counts {
            self.task = task;
            return Ok(());
        }
        let invocations = client.get(&format!("{path}/invocations")).await?;
        let results = client.get(&format!("{path}/results")).await?;
        *self = Self { task, results, invocations };
        Ok(())
    }

    /// Whether the lists were read at all.
    fn is_complete(&self) -> bool {
        self.invocations.len() as i64 == self.task.targets
    }

    /// Whether some server's end is not known.
    pub fn is_open(&self) -> bool {
        !self.is_complete() || tally::open(&self.task) > 0
    }
}
