//! The spool: what the broker does not have yet. A result leaves it only once the broker has
//! confirmed it, so it outlives a broker that is away for days and an agent that is killed. It is
//! signed each time it is handed in: the plane knows a result by its words, not by its signature.

use std::time::Duration;

use shared::bus::{Address, Message, Receipt};
use shared::contract::signed::Kind;
use shared::crash::{self, Point};
use shared::error::{Error, Result};
use shared::rules::limits::ENVELOPE_BYTES_MAX;

use crate::Agent;
use crate::journal::Spooled;

/// Results handed in at a time; each may have a megabyte.
const BATCH_ROWS: usize = 16;
/// Results that the spool may hold.
const ROWS_MAX: usize = 10_000;
/// Bytes that the spool may hold.
const BYTES_MAX: usize = 256 * 1024 * 1024;

impl Agent {
    /// Hands in one batch. Returns whether there may be more.
    pub(crate) async fn flush(self) -> Result<bool> {
        if self.mend().await.is_err() {
            return Ok(false); // said once, and in every heartbeat
        }
        let spooled = self.0.journal.spooled(BATCH_ROWS).await?;
        if spooled.is_empty() {
            return Ok(false);
        }
        let mut messages = Vec::with_capacity(spooled.len());
        for result in &spooled {
            messages.push(self.seal(result)?);
            tokio::task::yield_now().await; // together the signatures take a while
        }
        self.hand_in(&spooled, messages).await?;
        Ok(spooled.len() == BATCH_ROWS)
    }

    /// A result, signed and addressed.
    pub(crate) fn seal(&self, spooled: &Spooled) -> Result<Message> {
        let report = self.sign(Kind::Result, spooled.result.clone().into_bytes())?;
        Ok(self.message(Kind::Result, report, spooled.traceparent.as_deref(), None))
    }

    /// Publishes results, each sealed in the message at its place, and drops from the spool what the
    /// broker has.
    pub(crate) async fn hand_in(&self, spooled: &[Spooled], messages: Vec<Message>) -> Result<()> {
        let outcomes = self.send(messages).await;
        let (mut delivered, mut failure) = (Vec::with_capacity(spooled.len()), None);
        for (result, outcome) in spooled.iter().zip(outcomes) {
            match outcome.and_then(confirmed) {
                Ok(()) => delivered.push(result),
                Err(error) => failure = Some(error),
            }
        }
        crash::point(Point::AgentConfirmed);
        self.0.journal.delivered(&delivered).await?;
        crash::point(Point::AgentDelivered);
        self.start_waiting(); // there may be room now
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

    /// Whether the spool is so full that no new command is taken. Rather refuse a command than drop a
    /// result.
    pub(crate) fn spool_is_full(&self) -> bool {
        is_full(self.0.journal.spool_size())
    }

    /// Whether the results of one more command and of those that run will fit, however large they are.
    /// So the line stops before the spool has more than it may.
    pub(crate) fn has_room(&self) -> bool {
        has_room(self.0.journal.spool_size(), self.0.state.running() + 1)
    }
}

/// Nine tenths: the rest is for what was accepted before.
const fn is_full((rows, bytes): (usize, usize)) -> bool {
    rows >= ROWS_MAX / 10 * 9 || bytes >= BYTES_MAX / 10 * 9
}

const fn has_room((rows, bytes): (usize, usize), more: usize) -> bool {
    rows + more <= ROWS_MAX && bytes + more * ENVELOPE_BYTES_MAX <= BYTES_MAX
}

fn confirmed(receipt: Receipt) -> Result<()> {
    match receipt {
        Receipt::Confirmed => Ok(()),
        Receipt::Returned => Err(Error::unavailable("the plane's queue for reports is not there")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_before_nine_tenths_fits_into_the_rest() {
        let running_max = crate::config::RUNNING_MAX_DEFAULT;
        for (spool, full) in [((8_999, 0), false), ((9_000, 0), true), ((0, BYTES_MAX / 10 * 9), true)] {
            assert_eq!(is_full(spool), full, "{spool:?}");
            assert!(has_room(spool, running_max), "those that run have room: {spool:?}");
        }
        assert!(has_room((ROWS_MAX - 1, 0), 1) && !has_room((ROWS_MAX, 0), 1) && !has_room((ROWS_MAX - 1, 0), 2));
        let last = BYTES_MAX - ENVELOPE_BYTES_MAX;
        assert!(has_room((0, last), 1) && !has_room((0, last + 1), 1), "a result may be as large as an envelope");
    }
}
