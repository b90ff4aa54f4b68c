//! Jobs that only seem to run: for tests, and for the simulator, where processes and real time would
//! make a run impossible to repeat.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

use super::{End, Job, Outcome, StartError};

/// What happens to a scripted job.
pub enum Script {
    /// It ends at once.
    Ends(Outcome),
    /// It runs until it is cancelled; its timeout does not end it.
    Hangs,
    /// It runs until somebody says how it ended, or until it is cancelled.
    Waits(oneshot::Receiver<Outcome>),
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
            Script::Ends(outcome) => Ok(Playing::Ended(outcome)),
            Script::Hangs => Ok(Playing::Hangs),
            Script::Waits(outcome) => Ok(Playing::Waits(outcome)),
            Script::Fails(error) => Err(error),
        }
    }
}

/// A scripted job that has started.
pub(super) enum Playing {
    Ended(Outcome),
    Hangs,
    Waits(oneshot::Receiver<Outcome>),
}

impl Playing {
    pub async fn finish(self, cancel: impl Future<Output = ()>) -> Outcome {
        let outcome = async {
            match self {
                Self::Ended(outcome) => return outcome,
                Self::Waits(outcome) => {
                    if let Ok(outcome) = outcome.await {
                        return outcome;
                    }
                }
                Self::Hangs => (),
            }
            std::future::pending().await
        };
        tokio::select! {
            biased;
            outcome = outcome => outcome,
            () = cancel => Outcome::new(End::Cancelled, ""),
        }
    }
}
