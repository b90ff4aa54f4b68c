//! The transport seam: who carries a message, and what a queue promises.
//!
//! The promises, which the suite beside this file checks of every driver: a confirmed message survives the death of
//! the process; what was not settled is delivered again; a message for which there is no queue is
//! returned, not swallowed; an expired message is never delivered; of a server's consumers one is
//! active at a time; what is given up lies in the dead-letter queue with its reason. Delivery is at
//! least once, so whoever handles a message must not mind seeing it twice.

pub mod consume;
mod local;
#[cfg(test)]
mod suite;
pub mod topology;

use std::time::Duration;

pub use consume::{Consumer, Handler, Verdict};
pub use local::LocalBus;
pub use topology::Address;

use crate::error::Result;

/// Who carries the messages.
#[derive(Clone, Debug)]
pub enum Bus {
    /// In this process, with its queues in the embedded database.
    Local(LocalBus),
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
}

/// A consumer's hold on a queue. Dropping it gives back what was not settled.
#[derive(Debug)]
pub enum Subscription {
    /// In this process.
    Local(local::Subscription),
}

impl Bus {
    /// Publishes messages and waits for what became of each, in their order.
    pub async fn publish(&self, messages: Vec<Message>) -> Vec<Result<Receipt>> {
        match self {
            Self::Local(bus) => bus.publish(messages).await,
        }
    }

    /// Makes sure that a server has its queue; `true` when it had none.
    pub async fn declare(&self, hostname: &str) -> Result<bool> {
        match self {
            Self::Local(bus) => bus.declare(hostname).await,
        }
    }

    /// Removes a server's queue and what waits there.
    pub async fn delete(&self, hostname: &str) -> Result<()> {
        match self {
            Self::Local(bus) => bus.delete(hostname).await,
        }
    }

    /// Takes hold of a queue.
    ///
    /// # Errors
    /// Not found when there is no such queue.
    pub fn subscribe(&self, queue: &str) -> Result<Subscription> {
        match self {
            Self::Local(bus) => bus.subscribe(queue).map(Subscription::Local),
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
        }
    }

    /// Up to `most` deliveries that are there now, perhaps none.
    pub async fn take(&mut self, most: usize) -> Result<Vec<Delivery>> {
        match self {
            Self::Local(subscription) => subscription.take(most).await,
        }
    }

    /// Says of each delivery what shall become of it.
    pub async fn settle(&mut self, verdicts: Vec<(u64, Verdict)>) -> Result<()> {
        match self {
            Self::Local(subscription) => subscription.settle(verdicts).await,
        }
    }
}
