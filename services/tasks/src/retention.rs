//! Retention: removes what is older or more than is kept. Outputs first if so configured, then whole
//! tasks; never one of which something is still expected (`rules::retention`).
//!
//! A step is two small transactions, neither of which waits for the disk: a power cut takes back what is
//! simply removed again. A task's row goes first, so that nobody sees half of it, and leaves a removal
//! behind (`store::removal`); what hangs on it goes in batches. Both are of bounded size, so a task for
//! 100,000 servers holds nobody up. Any number of these may run: each row is locked before it goes.
//!
//! Tasks are looked at in rounds, from the oldest on, as far as they are too old or too many; how far that
//! is by number is found once, at a round's start, since counting a million takes a while. A round
//! remembers where it is, because tasks that have to stay are looked at in vain; who forgets it begins a
//! new one. The age is that of the row, not of the id: a process whose clock was set back makes ids ahead.

use std::sync::Arc;
use std::time::Duration;

use shared::clock::Time;
use shared::config::Keep;
use shared::contract::task::Task;
use shared::error::Result;
use shared::metrics;
use shared::rules::retention::is_removable;
use shared::run::{Bell, Chore, Context};
use shared::store;
use tokio::sync::Mutex;

/// How often it is looked whether something has become too old or too much.
const EVERY: Duration = Duration::from_secs(60);
/// Rows of a table that one transaction removes.
const BATCH_ROWS: usize = 500;
/// Tasks that a round removes at most because they are too many.
const ROUND_TASKS_MAX: u64 = 100_000;

pub fn chore(ctx: &Context, keep: Keep) -> Chore {
    let retention = Retention::new(ctx.clone(), keep);
    let work = Arc::new(move || {
        let retention = retention.clone();
        Box::pin(async move { retention.step().await }) as _
    });
    Chore { name: "retention", every: EVERY, bell: Bell::default(), work }
}

/// Removes what is not kept.
#[derive(Clone)]
pub struct Retention {
    ctx: Context,
    keep: Keep,
    round: Arc<Mutex<Option<Round>>>,
}

/// A way through the tasks, from the oldest on.
struct Round {
    /// The task it has come to.
    after: String,
    /// The first task that is not one too many, if there are too many.
    before: Option<String>,
}

impl Retention {
    /// One that keeps what `keep` says.
    pub fn new(ctx: Context, keep: Keep) -> Self {
        Self { ctx, keep, round: Arc::default() }
    }

    /// Removes a batch of outputs, and one of tasks or, as long as there is any, of what hangs on those that
    /// were removed before. Returns whether there may be more.
    pub async fn step(&self) -> Result<bool> {
        let now = self.ctx.clock.now();
        let outputs = self.remove_outputs(now).await?;
        Ok(self.remove_rest().await? || self.remove_tasks(now).await? || outputs)
    }

    async fn remove_outputs(&self, now: Time) -> Result<bool> {
        let Some(age) = self.keep.outputs_for else { return Ok(false) };
        let keys = store::result::with_output(&self.ctx.db, now.minus(age), BATCH_ROWS).await?;
        if keys.is_empty() {
            return Ok(false);
        }
        let work = || async {
            let mut tx = self.ctx.db.begin_soft().await?;
            store::result::remove_output(&mut tx, &keys).await?;
            tx.commit().await
        };
        self.ctx.db.persist(work).await?;
        metrics::removed("outputs", keys.len() as u64);
        Ok(keys.len() == BATCH_ROWS)
    }

    async fn remove_tasks(&self, now: Time) -> Result<bool> {
        let mut place = self.round.lock().await;
        let round = match place.take() {
            Some(round) => round,
            None => self.begin_round().await?,
        };
        let unwanted = |task: &Task| {
            let is_too_old = self.keep.tasks_for.is_some_and(|age| task.created_at.plus(age) < now);
            is_too_old || round.before.as_ref().is_some_and(|before| task.task_id < *before)
        };
        let tasks = store::task::oldest(&self.ctx.db, &round.after, BATCH_ROWS).await?;
        let goes = |task: &&Task| unwanted(task) && is_removable((task.status, task.is_final), task.deadline, now);
        let gone: Vec<_> = tasks.iter().filter(goes).map(|task| task.task_id.clone()).collect();
        if !gone.is_empty() {
            metrics::removed("tasks", self.ctx.db.persist(|| self.remove(&gone)).await?);
        }
        // Ids sort by time, so behind a task that is wanted there is no other.
        let last = tasks.get(BATCH_ROWS - 1).filter(|last| unwanted(last));
        let after = last.map(|last| last.task_id.clone());
        *place = after.map(|after| Round { after, ..round });
        Ok(place.is_some() || !gone.is_empty())
    }

    async fn begin_round(&self) -> Result<Round> {
        let mut before = None;
        if let Some(max) = self.keep.tasks_max {
            let excess = store::task::count(&self.ctx.db).await?.saturating_sub(max).min(ROUND_TASKS_MAX);
            if excess > 0 {
                before = store::task::id_behind(&self.ctx.db, excess).await?;
            }
        }
        Ok(Round { after: String::new(), before })
    }

    /// Removes tasks for everybody's eyes. Returns how many there were.
    async fn remove(&self, task_ids: &[String]) -> Result<u64> {
        let mut tx = self.ctx.db.begin_soft().await?;
        let removed = store::task::delete(&mut tx, task_ids).await?;
        store::wave::delete(&mut tx, &removed).await?; // a report then answers nothing that is known
        store::removal::insert(&mut tx, &removed).await?;
        tx.commit().await?;
        Ok(removed.len() as u64)
    }

    /// Removes what hangs on removed tasks.
    async fn remove_rest(&self) -> Result<bool> {
        let task_ids = store::removal::oldest(&self.ctx.db, BATCH_ROWS).await?;
        if task_ids.is_empty() {
            return Ok(false);
        }
        let (invocations, results) = self.ctx.db.persist(|| self.empty(&task_ids)).await?;
        metrics::removed("results", results);
        Ok(invocations == BATCH_ROWS || task_ids.len() == BATCH_ROWS)
    }

    /// Removes a batch of invocations with their results. The invocations are locked first, as the
    /// ingestor does, so that no result of theirs can be stored once this has passed.
    async fn empty(&self, task_ids: &[String]) -> Result<(usize, u64)> {
        let mut tx = self.ctx.db.begin_soft().await?;
        let keys = store::invocation::of_tasks(&mut tx, task_ids, BATCH_ROWS).await?;
        let results = store::result::delete(&mut tx, &keys).await?;
        store::invocation::delete(&mut tx, &keys).await?;
        // The batch goes by task; of the last one in a full batch there may be more.
        let last = keys.get(BATCH_ROWS - 1).map(|(task_id, _)| task_id);
        let done = task_ids.iter().filter(|id| last.is_none_or(|last| *id < last)).cloned();
        store::removal::delete(&mut tx, &done.collect::<Vec<_>>()).await?;
        tx.commit().await?;
        Ok((keys.len(), results))
    }
}
