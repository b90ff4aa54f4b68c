//! One queue in memory: what is ready, and what each subscription holds.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use tokio::sync::Notify;

use crate::bus::BATCH_BYTES_MAX;
use crate::clock::Time;
use crate::rules::limits::HEARTBEATS_WAITING_MAX;

/// A message on this side of the wall.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub id: i64,
    /// Has a row in the table.
    pub durable: bool,
    /// Bytes of its body.
    pub size: usize,
    /// Absent when it is to be read from the table.
    pub body: Option<Vec<u8>>,
    pub traceparent: Option<String>,
    pub expires_at: Option<Time>,
    /// Why and where it was given up, if it was.
    pub death: Option<Death>,
    pub redelivered: bool,
}

/// How a message came to the dead letters.
#[derive(Clone, Debug)]
pub(super) struct Death {
    pub reason: String,
    /// The queue it was given up in.
    pub queue: String,
}

impl Stored {
    pub fn bytes(&self) -> usize {
        self.body.as_ref().map_or(0, Vec::len)
    }
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    ready: VecDeque<Stored>,
    held: BTreeMap<i64, (u64, Stored)>,
    /// The one subscription that is served; the others wait until it lets go.
    active: Option<u64>,
    bytes: usize,
    arrived: Arc<Notify>,
}

impl Queue {
    pub fn arrived(&self) -> Arc<Notify> {
        Arc::clone(&self.arrived)
    }

    pub fn wake(&self) {
        self.arrived.notify_waiters();
    }

    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn push(&mut self, stored: Stored) {
        self.bytes += stored.bytes();
        self.ready.push_back(stored);
        // Only heartbeats are not durable, and an old heartbeat is worth nothing.
        if self.ready.len() > HEARTBEATS_WAITING_MAX && self.ready.front().is_some_and(|oldest| !oldest.durable) {
            self.bytes -= self.ready.pop_front().map_or(0, |oldest| oldest.bytes());
        }
        self.wake();
    }

    /// Whether there is something for this subscription.
    pub fn serves(&self, subscription: u64) -> bool {
        !self.ready.is_empty() && self.active.is_none_or(|active| active == subscription)
    }

    /// Up to `most` messages, now held by the subscription, and the ids of those that expired, which it
    /// holds too until their rows are gone.
    pub fn take(&mut self, subscription: u64, most: usize, now: Time) -> (Vec<Stored>, Vec<i64>) {
        let (mut taken, mut expired) = (Vec::new(), Vec::new());
        if *self.active.get_or_insert(subscription) != subscription {
            return (taken, expired);
        }
        let mut bytes = 0;
        while taken.len() < most && bytes < BATCH_BYTES_MAX {
            let Some(stored) = self.ready.pop_front() else { break };
            if stored.expires_at.is_some_and(|at| at <= now) {
                expired.push(stored.id);
                self.held.insert(stored.id, (subscription, stored));
                continue;
            }
            bytes += stored.size;
            self.held.insert(stored.id, (subscription, stored.clone()));
            taken.push(stored);
        }
        (taken, expired)
    }

    /// A message that some subscription holds.
    pub fn held(&self, id: i64) -> Option<Stored> {
        self.held.get(&id).map(|(_, stored)| stored.clone())
    }

    /// Puts held messages back to the front, in their old order.
    pub fn put_back(&mut self, ids: impl Iterator<Item = i64>) {
        let mut ids: Vec<_> = ids.collect();
        ids.sort_unstable();
        for id in ids.into_iter().rev() {
            if let Some((_, mut stored)) = self.held.remove(&id) {
                stored.redelivered = true;
                self.ready.push_front(stored);
            }
        }
        self.wake();
    }

    /// Lets go of held messages that are done with.
    pub fn forget(&mut self, ids: impl Iterator<Item = i64>) {
        for id in ids {
            if let Some((_, stored)) = self.held.remove(&id) {
                self.bytes -= stored.bytes();
            }
        }
    }

    /// A subscription ends: what it held is ready again, and another one may be served.
    pub fn release(&mut self, subscription: u64) {
        let ids: Vec<_> = self.held.iter().filter(|(_, (by, _))| *by == subscription).map(|(id, _)| *id).collect();
        if self.active == Some(subscription) {
            self.active = None;
        }
        self.put_back(ids.into_iter());
    }
}
