//! The transport seam: who carries a message, and what a queue promises.
//!
//! The promises, which the suite beside this file checks of every driver: a confirmed message survives the death of
//! the process; what was not settled is delivered again; a message for which there is no queue is
//! returned, not swallowed; an expired message is never delivered; of a server's consumers one is
//! active at a time; what is given up lies in the dead-letter queue with its reason. Delivery is at
//! least once, so whoever handles a message must not mind seeing it twice.

pub mod consume;
#[cfg(test)]
mod fixture;
mod local;
pub mod rabbit;
#[cfg(test)]
mod suite;
pub mod topology;
mod unreliable;

use std::time::Duration;

pub use consume::{Consumer, Handler, Verdict};
pub use local::LocalBus;
pub use rabbit::RabbitBus;
pub use topology::Address;
pub use unreliable::{Fault, Unreliable};

use crate::error::Result;
use crate::metrics;
use crate::telemetry::{self, Span};

/// A batch that has so many bytes takes no further message.
const BATCH_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Who carries the messages.
#[derive(Clone, Debug)]
pub enum Bus {
    /// In this process, with its queues in the embedded database.
    Local(LocalBus),
    /// On RabbitMQ.
    Rabbit(RabbitBus),
    /// In this process, over a line that fails when it is told to: for the simulator.
    Unreliable(Unreliable),
}

/// A message to be published.
#[derive(Clone, Debug)]
pub struct Message {
    /// Where it goes.
    pub address: Address,
    /// What it says.
    pub body: Vec<u8>,
    /// The W3C trace context it carries on.
    pub traceparent: Option<String>,
    /// It is not delivered after this; never when absent.
    pub ttl: Option<Duration>,
}

impl Message {
    /// Begins the span of publishing it, if it belongs to a trace; the message carries that span's
    /// context to whoever handles it.
    pub fn enter(&mut self, name: &'static str) -> Option<Span> {
        let span = Span::carry_on(name, telemetry::Kind::Producer, self.traceparent.as_deref())?;
        self.traceparent = Some(span.context().traceparent());
        Some(span)
    }
}

/// What became of a published message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receipt {
    /// A queue has it, and keeps it.
    Confirmed,
    /// There is no queue for it.
    Returned,
}

/// A message handed to a consumer, who must settle it.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// What to settle it by.
    pub tag: u64,
    /// What it says.
    pub body: Vec<u8>,
    /// The W3C trace context it carries on.
    pub traceparent: Option<String>,
    /// It may have been delivered before.
    pub redelivered: bool,
    /// Why it was given up, in the dead-letter queue.
    pub reason: Option<String>,
    /// The queue it was given up in, in the dead-letter queue.
    pub given_up_in: Option<String>,
}

impl Delivery {
    /// Begins the span of handling it, if it belongs to a trace. From here on the delivery carries that
    /// span's context, so whatever follows from it is below the span.
    pub fn enter(&mut self, name: &'static str) -> Option<Span> {
        let span = Span::carry_on(name, telemetry::Kind::Consumer, self.traceparent.as_deref())?;
        self.traceparent = Some(span.context().traceparent());
        Some(span)
    }
}

/// A consumer's hold on a queue. Dropping it gives back what was not settled.
#[derive(Debug)]
pub enum Subscription {
    /// In this process.
    Local(local::Subscription),
    /// On RabbitMQ.
    Rabbit(Box<rabbit::Subscription>),
}

impl Bus {
    /// A bus on RabbitMQ; see [`RabbitBus::open`].
    pub fn rabbit(settings: &rabbit::Settings) -> Result<Self> {
        RabbitBus::open(settings).map(Self::Rabbit)
    }

    /// Publishes messages and waits for what became of each, in their order.
    pub async fn publish(&self, messages: Vec<Message>) -> Vec<Result<Receipt>> {
        let addresses: Vec<_> = messages.iter().map(|message| message.address.clone()).collect();
        let outcomes = match self {
            Self::Local(bus) => bus.publish(messages).await,
            Self::Rabbit(bus) => bus.publish(messages).await,
            Self::Unreliable(bus) => bus.publish(messages).await,
        };
        addresses.iter().zip(&outcomes).for_each(|(to, outcome)| metrics::published(to, outcome));
        outcomes
    }

    /// Makes sure that a server has its queue; what waits there stays.
    pub async fn declare(&self, hostname: &str) -> Result<()> {
        match self {
            Self::Local(bus) => bus.declare(hostname).await,
            Self::Rabbit(bus) => bus.declare(hostname).await,
            Self::Unreliable(bus) => bus.local().declare(hostname).await,
        }
    }

    /// Removes a server's queue and what waits there.
    pub async fn delete(&self, hostname: &str) -> Result<()> {
        match self {
            Self::Local(bus) => bus.delete(hostname).await,
            Self::Rabbit(bus) => bus.delete(hostname).await,
            Self::Unreliable(bus) => bus.local().delete(hostname).await,
        }
    }

    /// Puts a message that somebody else took from `queue` with the dead letters. Whoever has a hold on
    /// the queue settles instead.
    pub async fn bury(&self, queue: &str, delivery: Delivery, reason: &str) -> Result<()> {
        tracing::warn!(queue, reason, "a message goes to the dead letters");
        match self {
            Self::Local(bus) => bus.bury(queue, delivery, reason).await,
            Self::Rabbit(bus) => bus.bury(queue, &delivery, reason).await,
            Self::Unreliable(bus) => bus.local().bury(queue, delivery, reason).await,
        }
    }

    /// Takes hold of a queue.
    ///
    /// # Errors
    /// Not found when there is no such queue.
    pub async fn subscribe(&self, queue: &str) -> Result<Subscription> {
        match self {
            Self::Local(bus) => bus.subscribe(queue).map(Subscription::Local),
            Self::Rabbit(bus) => bus.subscribe(queue).await.map(|held| Subscription::Rabbit(Box::new(held))),
            Self::Unreliable(bus) => bus.local().subscribe(queue).map(Subscription::Local),
        }
    }

    /// Whether the broker answers now.
    ///
    /// # Errors
    /// Unavailable when it does not.
    pub async fn ping(&self) -> Result<()> {
        match self {
            Self::Local(_) | Self::Unreliable(_) => Ok(()), // it lives in this process and in the database, which is asked on its own
            Self::Rabbit(bus) => bus.ping().await,
        }
    }
}

impl Subscription {
    /// Waits until there may be something to take.
    ///
    /// # Errors
    /// Not found when the queue has gone.
    pub async fn ready(&mut self) -> Result<()> {
        match self {
            Self::Local(subscription) => subscription.ready().await,
            Self::Rabbit(subscription) => subscription.ready().await,
        }
    }

    /// Up to `most` deliveries that are there now. None only when all that waited when the hold was taken
    /// was taken too, as far as the broker tells; over RabbitMQ that may take two seconds.
    pub async fn take(&mut self, most: usize) -> Result<Vec<Delivery>> {
        match self {
            Self::Local(subscription) => subscription.take(most).await,
            Self::Rabbit(subscription) => subscription.take(most).await,
        }
    }

    /// Says of each delivery what shall become of it.
    pub async fn settle(&mut self, verdicts: Vec<(u64, Verdict)>) -> Result<()> {
        match self {
            Self::Local(subscription) => subscription.settle(verdicts).await,
            Self::Rabbit(subscription) => subscription.settle(verdicts).await,
        }
    }
}
