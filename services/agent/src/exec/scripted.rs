//! Jobs that only seem to run: for tests, and for the simulator, where processes and real time would
//! make a run impossible to repeat.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use super::{End, Job, Outcome, StartError};

/// What happens to a scripted job.
pub enum Script {
    /// It ends at once.
    Ends(Outcome),
    /// It runs until it is cancelled; its timeout does not end it.
    Hangs,
    /// It cannot be started.
    Fails(StartError),
}

/// Runs jobs by a script and keeps a log of them. A clone shares the log, so that it outlives a crash
/// of the agent that ran them.
#[derive(Clone)]
pub struct Scripted {
    script: Arc<dyn Fn(&Job) -> Script + Send + Sync>,
    log: Arc<Mutex<Vec<Job>>>,
}

impl Scripted {
    pub fn new(script: impl Fn(&Job) -> Script + Send + Sync + 'static) -> Self {
        Self { script: Arc::new(script), log: Arc::default() }
    }

    /// Every job that was started so far, in order; those that failed to start too.
    pub fn log(&self) -> Vec<Job> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn start(&self, job: &Job) -> Result<Playing, StartError> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).push(job.clone());
        match (self.script)(job) {
            Script::Ends(outcome) => Ok(Playing(Some(outcome))),
            Script::Hangs => Ok(Playing(None)),
            Script::Fails(error) => Err(error),
        }
    }
}

/// A scripted job's outcome, or none while it hangs.
pub(super) struct Playing(Option<Outcome>);

impl Playing {
    pub async fn finish(self, cancel: impl Future<Output = ()>) -> Outcome {
        if let Some(outcome) = self.0 {
            return outcome;
        }
        cancel.await;
        Outcome::new(End::Cancelled, "")
    }
}
