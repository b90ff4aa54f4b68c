//! What the agent knows only while it runs: which commands run or wait, and how to stop them. The
//! journal is the truth; all of this is rebuilt from it at a start.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use shared::contract::signed::Command;
use shared::metrics;
use shared::sign::Authentic;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Accepted commands that wait for their turn; more stay with the broker.
const WAITING_MAX: usize = 1_000;

/// A command that was accepted and waits for its turn.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// The command. Its time is checked when it starts.
    pub command: Authentic<Command>,
    /// The trace it belongs to.
    pub traceparent: Option<String>,
}

#[derive(Debug, Default)]
pub struct State {
    known: Mutex<Known>,
    jobs: TaskTracker,
    counter: AtomicU64,
    /// Commands that ended, and whose results the journal does not take.
    stuck: AtomicUsize,
}

#[derive(Debug, Default)]
struct Known {
    /// The queue is being drained after an attach: accept, and start nothing yet.
    draining: bool,
    running: HashMap<String, CancellationToken>,
    waiting: VecDeque<Waiting>,
}

impl State {
    fn known(&self) -> MutexGuard<'_, Known> {
        // Nothing panics while holding it; if it did, the collections would still be sound.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds starts back until [`State::drained`].
    pub fn attached(&self) {
        self.known().draining = true;
    }

    /// Lets starts go on.
    pub fn drained(&self) {
        self.known().draining = false;
    }

    /// A place among the running commands, if one is free right now and nobody waits before.
    pub fn take_place(&self, task_id: &str, running_max: usize) -> Option<CancellationToken> {
        let mut known = self.known();
        (known.waiting.is_empty() && known.take(task_id, running_max)?).then_some(())?;
        known.running.get(task_id).cloned()
    }

    /// Whether the line is as long as it may be. While the queue is being drained it may be longer:
    /// nothing starts before the queue has been seen empty, and the queue has a limit of its own.
    pub fn is_crowded(&self) -> bool {
        let known = self.known();
        !known.draining && known.waiting.len() >= WAITING_MAX
    }

    /// Puts a command at the end of the line.
    pub fn wait(&self, waiting: Waiting) {
        self.known().waiting.push_back(waiting);
    }

    /// The next command in line, if a place is free for it.
    pub fn next(&self, running_max: usize) -> Option<(Waiting, CancellationToken)> {
        let mut known = self.known();
        let task_id = known.waiting.front()?.command.body().task_id.clone();
        known.take(&task_id, running_max).filter(|taken| *taken)?;
        let token = known.running.get(&task_id)?.clone();
        Some((known.waiting.pop_front()?, token))
    }

    /// Gives a place back.
    pub fn leave(&self, task_id: &str) {
        if self.known().running.remove(task_id).is_some() {
            metrics::running(-1.0);
        }
    }

    /// Takes a waiting command out of the line.
    pub fn withdraw(&self, task_id: &str) -> Option<Waiting> {
        let mut known = self.known();
        let place = known.waiting.iter().position(|waiting| waiting.command.body().task_id == task_id)?;
        known.waiting.remove(place)
    }

    /// Whether a command still waits.
    pub fn is_waiting(&self, task_id: &str) -> bool {
        self.known().waiting.iter().any(|waiting| waiting.command.body().task_id == task_id)
    }

    /// Stops a running command.
    pub fn stop(&self, task_id: &str) {
        if let Some(token) = self.known().running.get(task_id) {
            token.cancel();
        }
    }

    /// How many commands run.
    pub fn running(&self) -> usize {
        self.known().running.len()
    }

    /// Notes that a result cannot be journalled, until what is returned is dropped.
    pub fn stick(&self) -> Stuck<'_> {
        self.stuck.fetch_add(1, Ordering::Relaxed);
        Stuck(&self.stuck)
    }

    /// Whether some result cannot be journalled.
    pub fn is_stuck(&self) -> bool {
        self.stuck.load(Ordering::Relaxed) > 0
    }

    /// A number that grows with each call.
    pub fn count(&self) -> u64 {
        self.counter.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Where running commands live.
    pub const fn jobs(&self) -> &TaskTracker {
        &self.jobs
    }

    /// Waits for running commands; `false` when some did not end in time.
    pub async fn drain(&self, grace: Duration) -> bool {
        self.known().draining = true;
        self.jobs.close();
        tokio::time::timeout(grace, self.jobs.wait()).await.is_ok()
    }
}

/// A result that the journal does not take.
#[derive(Debug)]
pub struct Stuck<'a>(&'a AtomicUsize);

impl Drop for Stuck<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Known {
    /// `None` while draining, `false` when all places are taken.
    fn take(&mut self, task_id: &str, running_max: usize) -> Option<bool> {
        if self.draining {
            return None;
        }
        if self.running.len() >= running_max {
            return Some(false);
        }
        self.running.insert(task_id.to_owned(), CancellationToken::new());
        metrics::running(1.0);
        Some(true)
    }
}
