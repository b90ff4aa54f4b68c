//! How a queue is worked through: take a batch, hand it over, settle each delivery by its verdict.
//! Acknowledging, trying again and giving up are decided here, once for every driver.
//!
//! A handler judges each delivery of its batch apart, in order, so one bad message never holds back
//! the others. [`step`] does one batch and returns: in production a loop calls it, in a test or the
//! simulator the test does.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use super::{Bus, Delivery, Subscription};
use crate::error::{Error, Kind, Result, chain};
use crate::metrics;
use crate::rules::backoff::Backoff;
use crate::run::probe::Attached;

/// What shall become of a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is done with.
    Done,
    /// Not now; deliver it again.
    Again,
    /// It can never be handled, for this reason.
    Dead(String),
}

/// What handles a queue's deliveries.
pub trait Handler: Send + Sync {
    /// A hold on the queue was taken; deliveries that waited follow.
    fn attached(&self) {}

    /// Handles a batch: a verdict each, in order.
    fn handle(&self, deliveries: Vec<Delivery>) -> BoxFuture<'_, Vec<Verdict>>;

    /// There was nothing more to take at that moment.
    fn drained(&self) {}
}

/// A queue and what handles it.
#[derive(Clone)]
pub struct Consumer {
    /// The queue.
    pub queue: String,
    /// The most deliveries in a batch.
    pub batch_max: usize,
    /// What handles them.
    pub handler: Arc<dyn Handler>,
    /// Whether it has a hold on the queue, for the probes.
    pub attached: Attached,
}

impl Consumer {
    /// A consumer of `queue`, not yet at work.
    pub fn new(queue: impl Into<String>, batch_max: usize, handler: Arc<dyn Handler>) -> Self {
        Self { queue: queue.into(), batch_max, handler, attached: Attached::default() }
    }

    /// Has a batch handled: a verdict each, in order.
    pub async fn judge(&self, deliveries: Vec<Delivery>) -> Vec<Verdict> {
        let handled = deliveries.len();
        metrics::delivered(&self.queue, handled);
        let mut verdicts = self.handler.handle(deliveries).await;
        verdicts.resize(handled, Verdict::Again); // no verdict is no settlement
        metrics::settled(&self.queue, &verdicts);
        verdicts
    }
}

/// Handles one batch, if there is one. Returns how many deliveries it held, and whether any of them
/// has to come again.
pub async fn step(subscription: &mut Subscription, consumer: &Consumer) -> Result<(usize, bool)> {
    let deliveries = subscription.take(consumer.batch_max).await?;
    if deliveries.is_empty() {
        consumer.handler.drained();
        return Ok((0, false));
    }
    let tags: Vec<_> = deliveries.iter().map(|delivery| delivery.tag).collect();
    let verdicts = consumer.judge(deliveries).await;
    let again = verdicts.contains(&Verdict::Again);
    let handled = tags.len();
    subscription.settle(tags.into_iter().zip(verdicts).collect()).await?;
    Ok((handled, again))
}

/// Works through the queue until `stop`. Whatever fails is tried again, with back-off; a queue that
/// is not there yet is waited for.
pub async fn run(bus: Bus, consumer: Consumer, stop: CancellationToken) {
    let mut failures = 0;
    while !stop.is_cancelled() {
        let Some(subscribed) = stop.run_until_cancelled(bus.subscribe(&consumer.queue)).await else { return };
        let outcome = match subscribed {
            Ok(subscription) => {
                let attached = AssertUnwindSafe(attached(subscription, &consumer, &stop, &mut failures));
                attached.catch_unwind().await.unwrap_or_else(|_| Err(Error::internal("it panicked")))
            }
            Err(error) => Err(error),
        };
        consumer.attached.set(false);
        let Err(error) = outcome else { return };
        failures += 1;
        let cause = chain(&error);
        if error.kind() == Kind::NotFound {
            tracing::debug!(queue = consumer.queue, "the queue is not there yet; waiting for it");
        } else {
            tracing::warn!(queue = consumer.queue, cause, "consuming failed; trying again");
        }
        pause(failures, &stop).await;
    }
}

async fn attached(
    mut subscription: Subscription,
    consumer: &Consumer,
    stop: &CancellationToken,
    failures: &mut u32,
) -> Result<()> {
    consumer.handler.attached();
    consumer.attached.set(true);
    loop {
        let (handled, again) = step(&mut subscription, consumer).await?;
        *failures = if again { *failures + 1 } else { 0 };
        if again {
            pause(*failures, stop).await;
        } else if handled == 0 {
            stop.run_until_cancelled(subscription.ready()).await.transpose()?;
        }
        if stop.is_cancelled() {
            return Ok(());
        }
    }
}

async fn pause(failures: u32, stop: &CancellationToken) {
    let wait = Backoff::WORK.wait(failures).max(Duration::from_millis(10));
    stop.run_until_cancelled(tokio::time::sleep(wait)).await;
}
