//! The watchdog: gives an invocation that nobody reports on its terminal state.
//!
//! Each open invocation carries the time at which it must be decided, so one step is one indexed
//! read and one transaction. What it says is provisional: a signed result, however late, overrules
//! it. Any number of watchdogs may run, since a second verdict changes nothing.

use shared::clock::Time;
use shared::crash::{self, Point};
use shared::error::Result;
use shared::metrics;
use shared::rules::invocation::{Event, Status, verdict};
use shared::run::Context;
use shared::store;
use shared::store::invocation::{Change, Key};

/// Invocations decided at a time.
const BATCH_ROWS: usize = 500;

/// A watchdog.
#[derive(Clone)]
pub struct Watchdog {
    ctx: Context,
}

impl Watchdog {
    /// A watchdog over the invocations of `ctx`.
    pub const fn new(ctx: Context) -> Self {
        Self { ctx }
    }

    /// Decides one batch. Returns whether there may be more.
    pub async fn step(&self) -> Result<bool> {
        let now = self.ctx.clock.now();
        let due = store::invocation::due(&self.ctx.db, now, BATCH_ROWS).await?;
        if due.is_empty() {
            return Ok(false);
        }
        self.ctx.db.persist(|| self.decide(&due, now)).await?;
        Ok(due.len() == BATCH_ROWS)
    }

    async fn decide(&self, due: &[Key], now: Time) -> Result<()> {
        let mut tx = self.ctx.db.begin().await?;
        let locked = store::invocation::lock(&mut tx, due.to_vec()).await?;
        // A report may have come in between, and with it more time.
        let changes = due.iter().filter(|key| locked.is_due(key, now)).filter_map(|key| {
            let event = verdict(locked.status(key)?)?;
            // What never went out cannot report; the roll-out should have spared it before.
            let event = if locked.is_held(key) { Event::Skipped } else { event };
            Some(Change { key: key.clone(), event, reason: Some(reason(event).to_owned()) })
        });
        let changes: Vec<_> = changes.collect();
        let lost = changes.iter().filter(|change| change.event == Event::Overdue).count();
        let expired = changes.iter().filter(|change| change.event == Event::TimeOver).count();
        store::invocation::advance(&mut tx, &locked, changes, now).await?;
        crash::point(Point::WatchdogWritten);
        tx.commit().await?;
        metrics::decided(Status::Lost, lost);
        metrics::decided(Status::Expired, expired);
        Ok(())
    }
}

fn reason(event: Event) -> &'static str {
    match event {
        Event::Skipped => "the time of the roll-out was over",
        Event::Overdue => "it had begun, and no result came in time",
        _ => "its time was over before its server reported",
    }
}
