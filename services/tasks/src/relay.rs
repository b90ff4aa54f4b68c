//! The relay: moves the outbox to the broker.
//!
//! One step publishes what was handed over, then leases a batch and publishes that, and stores what
//! became of each message. Nothing is locked while the broker is talked to. A relay that dies in the
//! middle leaves a lease that runs out, and the next one publishes again: a duplicate is harmless, a
//! loss would not be. A returned message means that the server's queue is gone; it is declared again,
//! and with the queue everything that was sent into the old one is sent once more.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::StreamExt as _;
use serde_json::value::RawValue;
use shared::bus::{Address, Message, Receipt};
use shared::clock::Time;
use shared::contract::envelope::{Addressed, Proof};
use shared::crash::{self, Point};
use shared::db::Tx;
use shared::error::{Error, Result, chain};
use shared::id;
use shared::rules::backoff::Backoff;
use shared::rules::invocation::Event;
use shared::run::Context;
use shared::store;
use shared::store::invocation::{Change, Key, Sent};
use shared::store::outbox::{self, Kind, Leased};
use shared::store::wave::{self, Signed};
use shared::telemetry::TraceContext;

use crate::handover::{Handover, LEASE, Parcel};

/// Rows leased at a time.
const BATCH_ROWS: usize = 500;
/// Queues that are made to agree at a time: fewer than there are connections to the database by default.
const AGREEING_MAX: usize = 8;
/// A relay. Any number of them may run.
#[derive(Clone)]
pub struct Relay {
    ctx: Context,
    handover: Handover,
}

/// What became of a leased row.
enum Outcome {
    /// It is done with: published, declared, deleted, or pointless by now.
    Done,
    /// The broker has the message.
    Confirmed,
    /// The broker has no queue for it.
    Undeliverable,
    /// To be tried again.
    Failed,
}

/// What a step came to.
struct Moved {
    may_be_more: bool,
    /// The broker did all that was asked of it.
    is_all_sent: bool,
}

const NOTHING: Moved = Moved { may_be_more: false, is_all_sent: true };

impl Relay {
    /// A relay between the outbox and the broker of `ctx`, to which nobody hands anything over.
    pub fn new(ctx: Context) -> Self {
        Self::with(ctx, Handover::default())
    }

    /// A relay that also takes what is handed over.
    pub(crate) const fn with(ctx: Context, handover: Handover) -> Self {
        Self { ctx, handover }
    }

    /// Moves what was handed over, and one batch of the outbox. Returns whether there may be more.
    pub async fn step(&self) -> Result<bool> {
        let stepped = self.move_both().await;
        self.handover.open(matches!(stepped, Ok(Moved { is_all_sent: true, .. })));
        stepped.map(|moved| moved.may_be_more)
    }

    async fn move_both(&self) -> Result<Moved> {
        let handed = self.move_handed().await?;
        let leased = self.move_leased().await?;
        Ok(Moved { is_all_sent: handed.is_all_sent && leased.is_all_sent, ..leased })
    }

    async fn move_handed(&self) -> Result<Moved> {
        let now = self.ctx.clock.now();
        let parcels = self.handover.take(now);
        if parcels.is_empty() {
            return Ok(NOTHING);
        }
        crash::point(Point::RelayHanded);
        let (mut rows, mut messages, mut places) = (Vec::new(), Vec::new(), Vec::new());
        for Parcel { place, wave, rows: handed } in parcels {
            for (row, proof) in handed {
                messages.push(Some(&row).filter(worth(now)).and_then(|row| message(row, &wave, &proof, now)));
                rows.push(row);
            }
            places.push(place); // what is under way takes room as well
        }
        let is_all_sent = self.send(rows, messages, now).await?;
        Ok(Moved { may_be_more: false, is_all_sent })
    }

    async fn move_leased(&self) -> Result<Moved> {
        let now = self.ctx.clock.now();
        let lease = id::random();
        let rows = outbox::lease(&self.ctx.db, &lease, now, now.plus(LEASE), BATCH_ROWS).await?;
        if rows.is_empty() {
            return Ok(NOTHING);
        }
        crash::point(Point::RelayLeased);
        let may_be_more = rows.len() == BATCH_ROWS;
        let messages = self.compose(&rows, now).await?;
        Ok(Moved { may_be_more, is_all_sent: self.send(rows, messages, now).await? })
    }

    /// Carries out what the leased rows ask for, each with its message, and stores what came of it.
    /// Returns whether the broker did all of it.
    async fn send(&self, rows: Vec<Leased>, messages: Vec<Option<Message>>, now: Time) -> Result<bool> {
        let outcomes = self.carry_out(&rows, messages, now).await?;
        let outcomes: Vec<_> = rows.into_iter().zip(outcomes).collect();
        crash::point(Point::RelayConfirmed);
        self.ctx.db.persist(|| self.settle(&outcomes)).await?;
        crash::point(Point::RelaySettled);
        Ok(!outcomes.iter().any(|(_, outcome)| matches!(outcome, Outcome::Failed)))
    }

    async fn carry_out(&self, rows: &[Leased], mut messages: Vec<Option<Message>>, now: Time) -> Result<Vec<Outcome>> {
        // Queues first: a command must find the queue that was declared before it.
        let disagreeing = self.agree_all(rows, now).await;
        let outcome = |(row, message): (&Leased, &Option<Message>)| match (row.kind, message) {
            (Kind::Declare | Kind::Delete, _) if disagreeing.contains(row.hostname.as_str()) => Outcome::Failed,
            (Kind::Declare | Kind::Delete, _) | (_, None) => Outcome::Done, // or expired, or its task is gone
            (_, Some(_)) => Outcome::Failed,
        };
        let mut outcomes: Vec<_> = rows.iter().zip(&messages).map(outcome).collect();
        self.publish(&mut messages, &mut outcomes).await?;
        Ok(outcomes)
    }

    /// Makes the queues agree for which that was ordered, several at a time and each once, so that no
    /// two orders for one server cross. Returns the servers for which it failed.
    async fn agree_all<'a>(&self, rows: &'a [Leased], now: Time) -> BTreeSet<&'a str> {
        let ordered = rows.iter().filter(|row| matches!(row.kind, Kind::Declare | Kind::Delete));
        let hostnames: BTreeSet<_> = ordered.map(|row| row.hostname.as_str()).collect();
        let agreeing: Vec<_> = hostnames.into_iter().map(|hostname| self.disagrees(hostname, now)).collect();
        let agreeing = futures::stream::iter(agreeing).buffer_unordered(AGREEING_MAX);
        agreeing.filter_map(std::future::ready).collect().await
    }

    /// The server, if its queue could not be made to agree.
    async fn disagrees<'a>(&self, hostname: &'a str, now: Time) -> Option<&'a str> {
        let error = self.agree(hostname, now).await.err()?;
        failed(&error);
        Some(hostname)
    }

    /// The messages of those rows that are worth publishing, each at its row's place.
    async fn compose(&self, rows: &[Leased], now: Time) -> Result<Vec<Option<Message>>> {
        let keys: Vec<Key> = rows.iter().filter(worth(now)).filter_map(key).collect();
        let waves: BTreeSet<_> = rows.iter().filter(worth(now)).filter_map(wave).collect();
        let mut sorted = keys.clone();
        sorted.sort();
        let db = &self.ctx.db;
        let (signed, proofs) = tokio::try_join!(wave::signed(db, waves), store::invocation::proofs(db, &sorted))?;
        let signed: BTreeMap<_, _> = signed.into_iter().map(|wave| ((wave.task_id.clone(), wave.wave), wave)).collect();
        let compose = |row: &Leased| {
            let key = Some(row).filter(worth(now)).and_then(key)?;
            message(row, signed.get(&wave(row)?)?, &proofs.get(&key)?.1, now)
        };
        Ok(rows.iter().map(compose).collect())
    }

    /// Publishes, declares the queues of what comes back, and publishes that once more.
    async fn publish(&self, messages: &mut [Option<Message>], outcomes: &mut [Outcome]) -> Result<()> {
        for last in [false, true] {
            let places: Vec<_> = (0..messages.len()).filter(|place| messages[*place].is_some()).collect();
            if places.is_empty() {
                return Ok(());
            }
            let mut batch: Vec<_> = places.iter().filter_map(|place| messages[*place].clone()).collect();
            let spans: Vec<_> = batch.iter_mut().map(|message| message.enter("publish")).collect();
            let receipts = self.ctx.bus.publish(batch).await;
            drop(spans);
            let mut returned = Vec::new();
            for (place, receipt) in places.into_iter().zip(receipts) {
                outcomes[place] = match receipt {
                    Ok(Receipt::Confirmed) => Outcome::Confirmed,
                    Ok(Receipt::Returned) if last => Outcome::Undeliverable,
                    Ok(Receipt::Returned) => {
                        returned.push(place);
                        continue;
                    }
                    Err(error) => {
                        let trace = messages[place].as_ref().and_then(|message| message.traceparent.as_deref());
                        TraceContext::within(trace, || failed(&error))
                    }
                };
                messages[place] = None;
            }
            self.declare_again(&returned, messages, outcomes).await?;
        }
        Ok(())
    }

    /// Declares the queues of returned messages, unless their servers are gone.
    async fn declare_again(
        &self,
        returned: &[usize],
        messages: &mut [Option<Message>],
        outcomes: &mut [Outcome],
    ) -> Result<()> {
        let hostname = |message: &Option<Message>| match message.as_ref().map(|message| &message.address) {
            Some(Address::Agent(hostname)) => Some(hostname.clone()),
            _ => None,
        };
        let hostnames: BTreeSet<_> = returned.iter().filter_map(|place| hostname(&messages[*place])).collect();
        let asked: Vec<_> = hostnames.iter().map(String::as_str).collect();
        let registered = store::server::registered(&self.ctx.db, &asked).await?;
        let mut declared = Vec::with_capacity(registered.len());
        for name in &registered {
            match self.declare(name, self.ctx.clock.now()).await {
                Ok(()) => declared.push(name),
                Err(error) => drop(failed(&error)),
            }
        }
        for place in returned {
            let Some(name) = hostname(&messages[*place]) else { continue };
            if declared.contains(&&name) {
                continue; // to be published once more
            }
            outcomes[*place] = if registered.contains(&name) { Outcome::Failed } else { Outcome::Undeliverable };
            messages[*place] = None;
        }
        Ok(())
    }

    /// Makes a server's queue agree with the roll, whatever was ordered when: a registered server has
    /// one, any other has none. So an order that is carried out late, or twice, does no harm.
    async fn agree(&self, hostname: &str, now: Time) -> Result<()> {
        if store::server::registered(&self.ctx.db, &[hostname]).await?.is_empty() {
            return self.ctx.bus.delete(hostname).await;
        }
        self.declare(hostname, now).await
    }

    /// Declares a server's queue. What was sent into one that may have been lost is put into the
    /// outbox first, cancels before commands, so that a crash in between leaves nothing out; the
    /// agent's journal absorbs what it had already.
    async fn declare(&self, hostname: &str, now: Time) -> Result<()> {
        let mut tx = self.ctx.db.begin().await?;
        let sent = store::invocation::sent_to(&mut tx, hostname).await?;
        let cancels =
            sent.iter().filter_map(|sent| Some(entry(sent, hostname, Kind::Cancel, sent.cancel_expires_at()?)));
        let commands =
            sent.iter().filter_map(|sent| Some(entry(sent, hostname, Kind::Command, sent.command_expires_at()?)));
        let entries: Vec<_> = cancels.chain(commands).filter(|entry| entry.expires_at > Some(now)).collect();
        outbox::insert_again(&mut tx, &entries, now).await?;
        tx.commit().await?;
        crash::point(Point::RelayRequeued);
        self.ctx.bus.declare(hostname).await
    }

    async fn settle(&self, outcomes: &[(Leased, Outcome)]) -> Result<()> {
        let now = self.ctx.clock.now();
        let mut tx = self.ctx.db.begin_soft().await?;
        let mut done = Vec::new();
        let mut changes = Vec::new();
        for (row, outcome) in outcomes {
            match outcome {
                Outcome::Failed => give_back(&mut tx, row, now).await?,
                _ => done.push(row.id.as_str()),
            }
            changes.extend(change(row, outcome));
        }
        outbox::delete(&mut tx, &done).await?;
        let failed = |(row, outcome): &(Leased, Outcome)| match outcome {
            Outcome::Failed if row.kind == Kind::Command => key(row),
            _ => None,
        };
        let mut failures: Vec<_> = outcomes.iter().filter_map(failed).collect();
        failures.sort();
        store::invocation::count_attempts(&mut tx, &failures).await?;
        store::invocation::apply(&mut tx, changes, now).await?;
        crash::point(Point::RelayWritten);
        tx.commit().await
    }
}

fn failed(error: &Error) -> Outcome {
    tracing::warn!(cause = chain(error), "the broker did not take a message; trying again");
    Outcome::Failed
}

fn entry<'a>(sent: &'a Sent, hostname: &'a str, kind: Kind, expires_at: Time) -> outbox::Entry<'a> {
    let (task_id, traceparent) = (Some(sent.task_id.as_str()), Some(sent.traceparent.as_str()));
    outbox::Entry { kind, task_id, wave: Some(sent.wave), hostname, traceparent, expires_at: Some(expires_at) }
}

fn key(row: &Leased) -> Option<Key> {
    row.task_id.clone().map(|task_id| (task_id, row.hostname.clone()))
}

fn wave(row: &Leased) -> Option<wave::Key> {
    row.task_id.clone().zip(row.wave)
}

/// Whether a row is still in time.
fn worth(now: Time) -> impl Fn(&&Leased) -> bool {
    move |row| row.expires_at.is_none_or(|at| now < at)
}

async fn give_back(tx: &mut Tx, row: &Leased, now: Time) -> Result<()> {
    let failures = u32::try_from(row.attempts).unwrap_or(u32::MAX);
    outbox::retry(tx, row, now.plus(Backoff::WORK.wait(failures))).await
}

fn change(row: &Leased, outcome: &Outcome) -> Option<Change> {
    let (event, reason) = match outcome {
        Outcome::Confirmed if row.kind == Kind::Command => (Event::Confirmed, None),
        Outcome::Undeliverable if row.kind == Kind::Command => {
            (Event::Returned, Some("the server has no queue".to_owned()))
        }
        _ => return None,
    };
    Some(Change { key: key(row)?, event, reason })
}

fn message(row: &Leased, wave: &Signed, proof: &Proof, now: Time) -> Option<Message> {
    let envelope = match row.kind {
        Kind::Command => &wave.envelope,
        Kind::Cancel => wave.cancel_envelope.as_ref()?,
        Kind::Declare | Kind::Delete => return None,
    };
    let addressed = Addressed { envelope: RawValue::from_string(envelope.clone()).ok()?, proof: proof.clone() };
    Some(Message {
        address: Address::Agent(row.hostname.clone()),
        body: serde_json::to_vec(&addressed).ok()?,
        traceparent: row.traceparent.clone(),
        ttl: row.expires_at.map(|at| now.until(at).max(Duration::from_millis(1))),
    })
}
