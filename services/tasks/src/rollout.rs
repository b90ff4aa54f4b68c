//! The roll-out: lets held servers go, wave by wave, or spares them.
//!
//! Everything is decided from the database: what is held from the roll-out's row, how the others fare
//! from the task's own counts. A wave is signed first and stored then, in one transaction that locks
//! the row and goes ahead only when nothing has changed. So a crash leaves either all of a wave or
//! nothing, and of any number of roll-outs at work one does each step.

use std::sync::Arc;
use std::time::Duration;

use shared::clock::Time;
use shared::crash::{self, Point};
use shared::db::Tx;
use shared::error::{Error, Result};
use shared::rules::invocation::Event;
use shared::rules::rollout::{Decision, decide};
use shared::run::Context;
use shared::sign::SigningKey;
use shared::store;
use shared::store::invocation::Change;
use shared::store::task::Order;

use crate::wave::Wave;

/// Roll-outs read at a time.
const BATCH_ROWS: usize = 100;

/// Lets waves go.
#[derive(Clone)]
pub struct Rollout {
    ctx: Context,
    key: Arc<SigningKey>,
}

impl Rollout {
    /// A roll-out over the tasks of `ctx`, signing with the plane's key.
    pub const fn new(ctx: Context, key: Arc<SigningKey>) -> Self {
        Self { ctx, key }
    }

    /// Looks at each roll-out once. There is never more to do at once: what comes next depends on
    /// what servers report.
    ///
    /// # Errors
    /// The last of those that single roll-outs met; the others went on all the same.
    pub async fn step(&self) -> Result<bool> {
        let (mut after, mut outcome) = (String::new(), Ok(false));
        loop {
            let rollouts = store::rollout::page(&self.ctx.db, &after, BATCH_ROWS).await?;
            for rollout in &rollouts {
                outcome = self.advance(rollout).await.and(outcome);
            }
            match rollouts.last() {
                Some(last) if rollouts.len() == BATCH_ROWS => after.clone_from(&last.task_id),
                _ => return outcome,
            }
        }
    }

    async fn advance(&self, seen: &store::rollout::Rollout) -> Result<()> {
        let now = self.ctx.clock.now();
        let order = store::task::order(&self.ctx.db, &seen.task_id).await?;
        let order = order.ok_or_else(|| Error::internal("a roll-out without its task"))?;
        let mut tx = self.ctx.db.begin_soft().await?;
        let decision = judge(&mut tx, seen, &order, now).await?;
        drop(tx); // it only looked
        match decision {
            Decision::Wait => Ok(()),
            Decision::Release(servers) => self.release(seen, &order, servers, now).await,
            Decision::TooManyErrors => {
                self.spare(seen, &order, decision, "too many other servers did not succeed", now).await
            }
            Decision::TimeOver => self.spare(seen, &order, decision, "the time of the roll-out was over", now).await,
        }
    }

    /// Signs the next wave and lets it go.
    async fn release(&self, seen: &store::rollout::Rollout, order: &Order, servers: i64, now: Time) -> Result<()> {
        let hostnames = store::invocation::held(&self.ctx.db, &seen.task_id, &seen.released_to, servers).await?;
        let Some(last) = hostnames.last().cloned() else { return Ok(()) }; // somebody else was faster
        let next = store::rollout::Rollout {
            held: seen.held - hostnames.len() as i64,
            wave: seen.wave + 1,
            released_to: last,
            ..seen.clone()
        };
        let expires_at = now.plus(Duration::from_secs(seen.expires_in.unsigned_abs())).min(Time(order.expires_at));
        let wave = Wave::new(order, next.wave, hostnames, (now, expires_at)).await?;
        let signed = wave.sign(Arc::clone(&self.key)).await?;
        crash::point(Point::RolloutSigned);
        let stored = || async {
            let mut tx = self.ctx.db.begin().await?;
            if !unchanged(&mut tx, seen, order, Decision::Release(servers), now).await? {
                return Ok(false);
            }
            store::invocation::release(&mut tx, wave.key(), wave.times(), &wave.rows(), now).await?;
            wave.enqueue(&mut tx, None).await?;
            store::wave::insert(&mut tx, &signed).await?;
            store::rollout::advance(&mut tx, &next).await?;
            crash::point(Point::RolloutWritten);
            tx.commit().await?;
            Ok(true)
        };
        if self.ctx.db.persist(stored).await? {
            crash::point(Point::RolloutCommitted);
            self.ctx.bell.ring();
        }
        Ok(())
    }

    /// Spares whatever is still held.
    async fn spare(
        &self,
        seen: &store::rollout::Rollout,
        order: &Order,
        decision: Decision,
        why: &str,
        now: Time,
    ) -> Result<()> {
        let stored = || async {
            let mut tx = self.ctx.db.begin().await?;
            if unchanged(&mut tx, seen, order, decision, now).await? {
                end(&mut tx, &seen.task_id, Event::Skipped, why, now).await?;
                tx.commit().await?;
            }
            Ok(())
        };
        self.ctx.db.persist(stored).await
    }
}

async fn judge(tx: &mut Tx, rollout: &store::rollout::Rollout, order: &Order, now: Time) -> Result<Decision> {
    let counts = store::task::counts(tx, &rollout.task_id).await?;
    let in_time = now < Time(order.expires_at);
    Ok(decide(&counts, rollout.held, rollout.max_concurrency, rollout.max_errors, in_time))
}

/// Locks the roll-out, and tells whether what was decided before still is what there is to do.
async fn unchanged(
    tx: &mut Tx,
    seen: &store::rollout::Rollout,
    order: &Order,
    decision: Decision,
    now: Time,
) -> Result<bool> {
    let locked = store::rollout::lock(tx, &seen.task_id).await?;
    Ok(locked.as_ref() == Some(seen) && judge(tx, seen, order, now).await? == decision)
}

/// Ends a locked roll-out: everything that is still held comes to its end without having been sent.
pub async fn end(tx: &mut Tx, task_id: &str, event: Event, why: &str, now: Time) -> Result<()> {
    let hostnames = store::invocation::all_held(tx, task_id).await?;
    let change = |hostname| Change { key: (task_id.to_owned(), hostname), event, reason: Some(why.to_owned()) };
    store::invocation::apply(tx, hostnames.into_iter().map(change).collect(), now).await?;
    store::rollout::delete(tx, task_id).await
}
