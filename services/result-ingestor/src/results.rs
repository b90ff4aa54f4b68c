//! Results and events. A batch is one transaction: results are inserted, states advanced, counts
//! moved. A second, different result of the same host is kept as a conflict; the first one stays.
//!
//! When a batch cannot be stored, the database is either away (all of it waits and comes again) or
//! dislikes one of the messages (the batch is halved until that one stands alone).

use std::sync::Arc;

use futures::future::BoxFuture;
use shared::bus::{Delivery, Handler, Verdict};
use shared::clock::Time;
use shared::contract::signed::{EventReport, Kind, Progress, ResultReport};
use shared::crash::{self, Point};
use shared::db::Tx;
use shared::error::{self, Result, chain};
use shared::metrics;
use shared::rules::invocation::Event;
use shared::run::Context;
use shared::sign::{Asked, Authentic, Refusal, Report, Verified};
use shared::store;
use shared::store::invocation::{Change, Key, Locked};
use shared::telemetry::{self, Span, TraceContext};

use crate::refusals::Refusals;
use crate::verify;

/// The longest reason that is stored, in characters.
const REASON_CHARS_MAX: usize = 500;

/// Handles the queue of results and events.
pub struct Results {
    ctx: Context,
    refusals: Arc<Refusals>,
}

/// An authentic report with its place in the batch.
struct Opened {
    place: usize,
    report: Report,
}

impl Opened {
    fn key(&self) -> Key {
        match &self.report {
            Report::Event(event) => (event.body().task_id.clone(), event.body().iss.clone()),
            Report::Result(result) => (result.body().task_id.clone(), result.body().iss.clone()),
            Report::Heartbeat(beat) => (String::new(), beat.body().iss.clone()),
        }
    }
}

impl Results {
    pub const fn new(ctx: Context, refusals: Arc<Refusals>) -> Self {
        Self { ctx, refusals }
    }

    async fn take(&self, deliveries: &[Delivery], spans: &[Span]) -> Result<Vec<Verdict>> {
        crash::point(Point::IngestorReceived);
        let mut verdicts = vec![Verdict::Done; deliveries.len()];
        let mut opened = Vec::with_capacity(deliveries.len());
        // The transaction is begun meanwhile.
        let opening = verify::open(&self.ctx, deliveries, &[Kind::Result, Kind::Event]);
        let (reports, tx) = tokio::try_join!(opening, self.begin())?;
        for (place, report) in reports.into_iter().enumerate() {
            match report {
                Ok(report) => opened.push(Opened { place, report }),
                Err(refusal) => {
                    let trace = deliveries[place].traceparent.as_deref();
                    verdicts[place] = TraceContext::within(trace, || self.refusals.dead(refusal));
                }
            }
        }
        let _writes: Vec<_> =
            spans.iter().map(|span| span.part("write to database", telemetry::Kind::Client)).collect();
        self.store(tx, opened, &mut verdicts).await?;
        Ok(verdicts)
    }

    /// Undone by a power cut, what is done in it is delivered and done again.
    async fn begin(&self) -> Result<Tx> {
        self.ctx.db.begin_soft().await.map_err(away)
    }

    /// Stores as much as can be stored, the whole of it in `tx` if possible, and writes a verdict on what
    /// cannot.
    async fn store(&self, tx: Tx, opened: Vec<Opened>, verdicts: &mut [Verdict]) -> Result<()> {
        let (mut tx, mut batches) = (Some(tx), vec![opened]);
        while let Some(mut batch) = batches.pop() {
            let tx = match tx.take() {
                Some(tx) => tx,
                None => self.begin().await?,
            };
            let Err(error) = self.transact(tx, &batch, verdicts).await else { continue };
            if error.kind() != error::Kind::Internal {
                return Err(error);
            }
            if let [alone] = batch.as_slice() {
                tracing::error!(cause = chain(&error), "a report cannot be stored; it goes to the dead letters");
                verdicts[alone.place] = Verdict::Dead(format!("not_storable: {}", chain(&error)));
                continue;
            }
            crash::point(Point::IngestorHalving);
            batches.push(batch.split_off(batch.len() / 2));
            batches.push(batch);
        }
        Ok(())
    }

    async fn transact(&self, mut tx: Tx, batch: &[Opened], verdicts: &mut [Verdict]) -> Result<()> {
        if batch.is_empty() {
            return tx.commit().await.map_err(away); // dropped, it would cost its connection
        }
        let keys: Vec<_> = batch.iter().map(Opened::key).collect();
        let locked = store::invocation::lock(&mut tx, keys).await?;
        let mut believed = Believed::default();
        let mut refused = Vec::new();
        for opened in batch {
            if let Err(refusal) = believed.judge(&mut tx, opened, &locked).await? {
                refused.push((opened.place, refusal));
            }
        }
        let now = self.ctx.clock.now();
        believed.store(&mut tx, &locked, now).await?;
        crash::point(Point::IngestorInserted);
        store::invocation::advance(&mut tx, &locked, believed.changes, now).await?;
        crash::point(Point::IngestorWritten);
        tx.commit().await.map_err(away)?;
        crash::point(Point::IngestorCommitted);
        for (place, refusal) in refused {
            verdicts[place] = self.refusals.dead(refusal);
        }
        Ok(())
    }
}

/// Beginning and committing concern no message, so no message is given up for them.
fn away(error: error::Error) -> error::Error {
    error::Error::unavailable("the database cannot be written right now").because(error)
}

/// What a batch comes to.
#[derive(Default)]
struct Believed {
    results: Vec<Verified<ResultReport>>,
    changes: Vec<Change>,
}

impl Believed {
    async fn judge(&mut self, tx: &mut Tx, opened: &Opened, locked: &Locked) -> Result<Result<(), Refusal>> {
        let key = opened.key();
        let is_target = locked.facts(&key).is_some();
        let digest = match locked.facts(&key) {
            Some(facts) => Some(facts.command_digest().to_owned()),
            None => store::wave::first_digest(tx, &key.0).await?, // no target, or no such task at all
        };
        let asked = digest.as_deref().map(|command_digest| Asked { command_digest, is_target });
        Ok(match &opened.report {
            Report::Event(event) => event.clone().answers(asked).map(|event| self.event(key, &event)),
            Report::Result(result) => Authentic::clone(result).answers(asked).map(|result| self.result(key, result)),
            Report::Heartbeat(_) => Err(Refusal::WrongType),
        })
    }

    fn event(&mut self, key: Key, event: &Verified<EventReport>) {
        let event = match event.body().kind {
            Progress::Accepted => Event::Accepted,
            Progress::Running => Event::Running,
        };
        self.changes.push(Change { key, event, reason: None });
    }

    fn result(&mut self, key: Key, result: Verified<ResultReport>) {
        let reason = result.body().reason.as_ref().map(|reason| reason.chars().take(REASON_CHARS_MAX).collect());
        self.changes.push(Change { key, event: Event::Result(result.body().status), reason });
        self.results.push(result);
    }

    /// Inserts the results that are new, and keeps those that contradict what is known.
    async fn store(&self, tx: &mut Tx, locked: &Locked, now: Time) -> Result<()> {
        let key = |result: &Verified<ResultReport>| (result.body().task_id.clone(), result.body().iss.clone());
        let keys: Vec<_> = self.results.iter().map(key).collect();
        // What is not final has no result yet.
        let is_final = |key: &&Key| locked.status(key).is_some_and(|status| status.rank() == 5);
        let decided: Vec<_> = keys.iter().filter(is_final).cloned().collect();
        let mut known = store::result::digests(tx, &decided).await?;
        let mut fresh = Vec::new();
        for (key, result) in keys.into_iter().zip(&self.results) {
            match known.get(&key) {
                None => {
                    known.insert(key, result.digest().to_owned());
                    fresh.push((result, now));
                }
                Some(digest) if digest == result.digest() => (),
                Some(_) => {
                    tracing::error!(task_id = key.0, hostname = key.1, "a host signed two different results");
                    store::result::insert_conflict(tx, (result, now)).await?;
                }
            }
        }
        store::result::insert(tx, &fresh).await
    }
}

impl Handler for Results {
    fn handle(&self, mut deliveries: Vec<Delivery>) -> BoxFuture<'_, Vec<Verdict>> {
        Box::pin(async move {
            metrics::ingested("results", deliveries.len());
            // Each message is a step of its own trace, and all of them take as long as their batch.
            let spans: Vec<_> = deliveries.iter_mut().filter_map(|delivery| delivery.enter("store result")).collect();
            let taken = self.take(&deliveries, &spans).await;
            drop(spans);
            taken.unwrap_or_else(|error| {
                tracing::warn!(cause = chain(&error), "reports could not be stored; trying again");
                vec![Verdict::Again; deliveries.len()]
            })
        })
    }
}
