//! The bus of the embedded plane. It keeps the promises of the real one: a message is confirmed
//! once its row is committed, and what was not settled when the process died is ready again when
//! the next one opens the file.
//!
//! The order of a queue lives in memory, the truth lives in the table. Bodies stay in memory up to
//! a limit and are read back from the table beyond it, so a long backlog costs little.

mod queue;
mod table;

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use self::queue::{Death, Queue, Stored};
use super::topology::{DEAD, HEARTBEATS, RESULTS, agent_queue};
use super::{Delivery, Message, Receipt, Verdict};
use crate::clock::{Clock, Time};
use crate::db::Lite;
use crate::error::{Error, Result};

/// Bodies kept in memory over all queues, in bytes.
const BODIES_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A bus whose queues are tables of a SQLite file. Cheap to clone.
#[derive(Clone, Debug)]
pub struct LocalBus(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    lite: Lite,
    clock: Clock,
    queues: Mutex<HashMap<String, Queue>>,
    next_id: AtomicI64,
    next_subscription: AtomicU64,
}

type Queues<'a> = MutexGuard<'a, HashMap<String, Queue>>;

impl LocalBus {
    /// Opens the bus in `lite`, with whatever was not settled in there ready again.
    pub async fn open(lite: Lite, clock: Clock) -> Result<Self> {
        table::create(&lite).await?;
        let mut queues: HashMap<_, _> =
            table::queues(&lite).await?.into_iter().map(|name| (name, Queue::default())).collect();
        for name in [RESULTS, HEARTBEATS, DEAD] {
            queues.entry(name.to_owned()).or_default();
        }
        let mut last = 0;
        for (queue, stored) in table::messages(&lite).await? {
            last = last.max(stored.id);
            if let Some(queue) = queues.get_mut(&queue) {
                queue.push(stored);
            }
        }
        let inner = Inner {
            lite,
            clock,
            queues: Mutex::new(queues),
            next_id: AtomicI64::new(last + 1),
            next_subscription: AtomicU64::new(1),
        };
        Ok(Self(Arc::new(inner)))
    }

    fn queues(&self) -> Queues<'_> {
        // Nothing panics while holding it; if it did, the map would still be sound.
        self.0.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) async fn declare(&self, hostname: &str) -> Result<()> {
        let name = agent_queue(hostname);
        if !self.queues().contains_key(&name) {
            table::declare(&self.0.lite, &name).await?;
            self.queues().entry(name).or_default();
        }
        Ok(())
    }

    pub(super) async fn delete(&self, hostname: &str) -> Result<()> {
        let name = agent_queue(hostname);
        table::delete(&self.0.lite, &name).await?;
        if let Some(queue) = self.queues().remove(&name) {
            queue.wake(); // so that its consumer learns that it is gone
        }
        Ok(())
    }

    pub(super) async fn publish(&self, messages: Vec<Message>) -> Vec<Result<Receipt>> {
        let now = self.0.clock.now();
        let mut routed = Vec::with_capacity(messages.len());
        let mut receipts = Vec::with_capacity(messages.len());
        for message in messages {
            let name = message.address.queue();
            let exists = self.queues().contains_key(&name);
            receipts.push(if exists { Receipt::Confirmed } else { Receipt::Returned });
            if exists {
                routed.push((name, self.stored(message, now)));
            }
        }
        if let Err(error) = table::insert(&self.0.lite, &routed).await {
            let detail = error.detail().to_owned();
            return receipts.iter().map(|_| Err(Error::unavailable(detail.clone()))).collect();
        }
        self.enqueue(routed);
        receipts.into_iter().map(Ok).collect()
    }

    fn stored(&self, message: Message, now: Time) -> Stored {
        Stored {
            id: self.0.next_id.fetch_add(1, Ordering::Relaxed),
            durable: message.address.is_durable(),
            size: message.body.len(),
            body: Some(message.body),
            traceparent: message.traceparent,
            expires_at: message.ttl.map(|ttl| now.plus(ttl)),
            death: None,
            redelivered: false,
        }
    }

    fn enqueue(&self, routed: Vec<(String, Stored)>) {
        let mut queues = self.queues();
        let mut bytes: usize = queues.values().map(Queue::bytes).sum();
        for (name, mut stored) in routed {
            bytes += stored.bytes();
            if bytes > BODIES_BYTES_MAX && stored.durable {
                bytes -= stored.bytes();
                stored.body = None;
            }
            if let Some(queue) = queues.get_mut(&name) {
                queue.push(stored);
            }
        }
    }

    pub(super) async fn bury(&self, queue: &str, delivery: Delivery, reason: &str) -> Result<()> {
        let grave = Stored {
            id: self.0.next_id.fetch_add(1, Ordering::Relaxed),
            durable: true,
            size: delivery.body.len(),
            body: Some(delivery.body),
            traceparent: delivery.traceparent,
            expires_at: None,
            death: Some(Death { reason: reason.to_owned(), queue: queue.to_owned() }),
            redelivered: delivery.redelivered,
        };
        let graves = vec![(DEAD.to_owned(), grave)];
        table::insert(&self.0.lite, &graves).await?;
        self.enqueue(graves);
        Ok(())
    }

    pub(super) fn subscribe(&self, name: &str) -> Result<Subscription> {
        let queues = self.queues();
        let queue = queues.get(name).ok_or_else(|| gone(name))?;
        let id = self.0.next_subscription.fetch_add(1, Ordering::Relaxed);
        Ok(Subscription { bus: self.clone(), name: name.to_owned(), id, arrived: queue.arrived() })
    }
}

fn gone(name: &str) -> Error {
    Error::not_found(format!("there is no queue `{name}`; register the server first"))
}

/// A hold on a queue.
#[derive(Debug)]
pub struct Subscription {
    bus: LocalBus,
    name: String,
    id: u64,
    arrived: Arc<Notify>,
}

impl Subscription {
    /// The queue that was subscribed to; one that was made anew under its name is another one.
    fn queue<'q>(&self, queues: &'q mut Queues<'_>) -> Result<&'q mut Queue> {
        let queue = queues.get_mut(&self.name).filter(|queue| Arc::ptr_eq(&queue.arrived(), &self.arrived));
        queue.ok_or_else(|| gone(&self.name))
    }

    pub(super) async fn ready(&mut self) -> Result<()> {
        let arrived = Arc::clone(&self.arrived);
        loop {
            let notified = arrived.notified();
            tokio::pin!(notified);
            notified.as_mut().enable(); // from here on no arrival is missed
            if self.queue(&mut self.bus.queues())?.serves(self.id) {
                return Ok(());
            }
            notified.await;
        }
    }

    pub(super) async fn take(&mut self, most: usize) -> Result<Vec<Delivery>> {
        let now = self.bus.0.clock.now();
        let (taken, expired) = self.queue(&mut self.bus.queues())?.take(self.id, most, now);
        table::remove(&self.bus.0.lite, &expired).await?;
        self.queue(&mut self.bus.queues())?.forget(expired.into_iter());
        let mut deliveries = Vec::with_capacity(taken.len());
        for stored in taken {
            let body = match stored.body {
                Some(body) => Some(body),
                None => table::body(&self.bus.0.lite, stored.id).await?,
            };
            match body {
                Some(body) => deliveries.push(Delivery {
                    tag: stored.id.unsigned_abs(),
                    body,
                    traceparent: stored.traceparent,
                    redelivered: stored.redelivered,
                    given_up_in: stored.death.as_ref().map(|death| death.queue.clone()),
                    reason: stored.death.map(|death| death.reason),
                }),
                // Settled before, by a settlement that did not come to its end.
                None => self.queue(&mut self.bus.queues())?.forget([stored.id].into_iter()),
            }
        }
        Ok(deliveries)
    }

    /// Dead letters first: should one fail, nothing of the batch is settled yet but what lies buried.
    pub(super) async fn settle(&mut self, verdicts: Vec<(u64, Verdict)>) -> Result<()> {
        let reason = |(tag, verdict): &'_ (u64, Verdict)| match verdict {
            Verdict::Dead(reason) => Some((tag.cast_signed(), reason.clone())),
            _ => None,
        };
        let dead: Vec<_> = verdicts.iter().filter_map(reason).collect();
        if !dead.is_empty() {
            self.bury(&dead).await?;
        }
        let done = verdicts.iter().filter(|(_, verdict)| *verdict == Verdict::Done).map(|(tag, _)| tag.cast_signed());
        let with_row: Vec<_> = {
            let mut queues = self.bus.queues();
            let queue = self.queue(&mut queues)?;
            done.filter(|id| queue.held(*id).is_some_and(|held| held.durable)).collect()
        };
        table::remove(&self.bus.0.lite, &with_row).await?;
        let mut queues = self.bus.queues();
        let queue = self.queue(&mut queues)?;
        let again = verdicts.iter().filter(|(_, verdict)| *verdict == Verdict::Again);
        queue.put_back(again.map(|(tag, _)| tag.cast_signed()));
        queue.forget(verdicts.iter().map(|(tag, _)| tag.cast_signed()));
        Ok(())
    }

    /// Moves messages to the dead letters, each with its reason, in one step.
    async fn bury(&self, dead: &[(i64, String)]) -> Result<()> {
        let mut graves = Vec::with_capacity(dead.len());
        for (id, reason) in dead {
            let held = self.queue(&mut self.bus.queues())?.held(*id);
            let Some(mut stored) = held else { continue };
            if stored.body.is_none() {
                stored.body = table::body(&self.bus.0.lite, *id).await?;
            }
            let next = self.bus.0.next_id.fetch_add(1, Ordering::Relaxed);
            let death = Some(Death { reason: reason.clone(), queue: self.name.clone() });
            graves.push((*id, Stored { id: next, durable: true, expires_at: None, death, ..stored }));
        }
        table::bury(&self.bus.0.lite, DEAD, &graves).await?;
        self.queue(&mut self.bus.queues())?.forget(graves.iter().map(|(id, _)| *id));
        // Nobody is in a hurry to read them, so their bodies stay on the disk.
        let buried = graves.into_iter().map(|(_, grave)| (DEAD.to_owned(), Stored { body: None, ..grave }));
        self.bus.enqueue(buried.collect());
        Ok(())
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if let Ok(queue) = self.queue(&mut self.bus.queues()) {
            queue.release(self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::bus::Address;
    use crate::db::Disk;
    use crate::db::lite::disk::{Faulty, Halt};

    /// What expired on a full disk must not lie there for ever.
    #[tokio::test]
    async fn what_expires_while_the_disk_is_full_is_removed_later() {
        let folder = tempfile::tempdir().unwrap();
        let (disk, clock) = (Faulty::new(Halt::default(), 0), Clock::manual(Time(0)));
        let lite = Lite::open_on(&folder.path().join("x.db"), &Disk::Faulty(disk.clone())).await.unwrap();
        let bus = LocalBus::open(lite.clone(), clock.clone()).await.unwrap();
        bus.declare("a").await.unwrap();
        let ttl = Some(Duration::from_secs(1));
        let message = Message { address: Address::Agent("a".to_owned()), body: vec![1], traceparent: None, ttl };
        bus.publish(vec![message]).await.into_iter().for_each(|receipt| _ = receipt.unwrap());
        clock.advance(Duration::from_secs(2));
        disk.set_full(true);
        assert!(bus.subscribe(&agent_queue("a")).unwrap().take(10).await.is_err());
        disk.set_full(false);
        assert!(bus.subscribe(&agent_queue("a")).unwrap().take(10).await.unwrap().is_empty());
        assert!(table::messages(&lite).await.unwrap().is_empty());
    }
}
