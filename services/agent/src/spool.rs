//! The spool: what the broker does not have yet. A report leaves it only once the broker has
//! confirmed it, so a result outlives a broker that is away for days and an agent that is killed.

use std::time::Duration;

use shared::bus::{Address, Message, Receipt};
use shared::contract::signed::Kind;
use shared::error::{Error, Result};

use crate::Agent;
use crate::journal::Spooled;

/// Reports handed in at a time; each may have a megabyte.
const BATCH_ROWS: usize = 16;
/// Reports that the spool may hold.
const ROWS_MAX: usize = 10_000;
/// Bytes that the spool may hold.
const BYTES_MAX: usize = 256 * 1024 * 1024;

impl Agent {
    /// Hands in one batch. Returns whether there may be more.
    pub(crate) async fn flush(self) -> Result<bool> {
        let spooled = self.0.journal.spooled(BATCH_ROWS).await?;
        if spooled.is_empty() {
            return Ok(false);
        }
        self.hand_in(&spooled).await?;
        Ok(spooled.len() == BATCH_ROWS)
    }

    /// Publishes reports and drops from the spool what the broker has.
    pub(crate) async fn hand_in(&self, spooled: &[Spooled]) -> Result<()> {
        let message =
            |report: &Spooled| self.message(Kind::Result, report.report.clone(), report.traceparent.as_deref(), None);
        let outcomes = self.send(spooled.iter().map(message).collect()).await;
        let (mut delivered, mut failure) = (Vec::with_capacity(spooled.len()), None);
        for (report, outcome) in spooled.iter().zip(outcomes) {
            match outcome.and_then(confirmed) {
                Ok(()) => delivered.push(report),
                Err(error) => failure = Some(error),
            }
        }
        self.0.journal.delivered(&delivered).await?;
        failure.map_or(Ok(()), Err)
    }

    /// Publishes one report that is not spooled.
    pub(crate) async fn publish(
        &self,
        kind: Kind,
        body: String,
        trace: Option<&str>,
        ttl: Option<Duration>,
    ) -> Result<()> {
        let outcomes = self.send(vec![self.message(kind, body, trace, ttl)]).await;
        outcomes.into_iter().try_for_each(|outcome| outcome.and_then(confirmed))
    }

    async fn send(&self, mut messages: Vec<Message>) -> Vec<Result<Receipt>> {
        let spans: Vec<_> = messages.iter_mut().map(|message| message.enter("report")).collect();
        let outcomes = self.0.bus.publish(messages).await;
        drop(spans);
        outcomes
    }

    fn message(&self, kind: Kind, body: String, trace: Option<&str>, ttl: Option<Duration>) -> Message {
        let address = Address::Report(kind, self.0.hostname.clone());
        Message { address, body: body.into_bytes(), traceparent: trace.map(str::to_owned), ttl }
    }

    /// Whether the spool is so full that a new command's result might not fit. Rather refuse a
    /// command than drop a result.
    pub(crate) fn spool_is_full(&self) -> bool {
        let (rows, bytes) = self.0.journal.spool_size();
        rows > ROWS_MAX / 10 * 9 || bytes > BYTES_MAX / 10 * 9
    }
}

fn confirmed(receipt: Receipt) -> Result<()> {
    match receipt {
        Receipt::Confirmed => Ok(()),
        Receipt::Returned => Err(Error::unavailable("the plane's queue for reports is not there")),
    }
}
