//! A bus that fails as networks and brokers do, for the simulator: the in-process bus behind a line on
//! which a message may be refused, doubled, held back for any time and so overtaken by others, and on
//! which a confirm may get lost. Underneath, the queues keep all their promises.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{LocalBus, Message, Receipt};
use crate::clock::{Clock, Time};
use crate::error::{Error, Result};

/// What happens to a message that is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It does not get there.
    Refused,
    /// It gets there, and nobody learns of it.
    ConfirmLost,
    /// It gets there, and once more when [`Unreliable::release`] says so.
    Doubled,
    /// It is confirmed, and reaches its queue when [`Unreliable::release`] says so.
    Delayed,
}

/// A bus that fails when it is told to. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Unreliable(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    local: LocalBus,
    clock: Clock,
    plan: VecDeque<Fault>,
    /// With the time after which each is not delivered any more.
    held: VecDeque<(Message, Option<Time>)>,
}

impl Unreliable {
    /// A line to `local`.
    pub fn new(local: LocalBus, clock: Clock) -> Self {
        Self(Arc::new(Mutex::new(State { local, clock, plan: VecDeque::new(), held: VecDeque::new() })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner) // a list is sound whatever panicked
    }

    /// The broker was started again: from here on it is this one.
    pub fn replace(&self, local: LocalBus) {
        self.state().local = local;
    }

    /// What happens to the next message that is published, after those planned before.
    pub fn plan(&self, fault: Fault) {
        self.state().plan.push_back(fault);
    }

    /// Forgets what was planned. Returns how much of it has not happened.
    pub fn spare(&self) -> usize {
        std::mem::take(&mut self.state().plan).len()
    }

    /// How many messages are held back.
    pub fn held(&self) -> usize {
        self.state().held.len()
    }

    /// Lets one of the messages go that are held back, unless its time is over.
    pub async fn release(&self, place: usize) -> Result<()> {
        let (local, now) = (self.local(), self.state().clock.now());
        let held = self.state().held.remove(place);
        let Some((mut message, expires_at)) = held else { return Ok(()) };
        message.ttl = expires_at.map(|at| now.until(at));
        if message.ttl.is_some_and(|ttl| ttl.is_zero()) {
            return Ok(());
        }
        local.publish(vec![message]).await.into_iter().try_for_each(|receipt| receipt.map(drop))
    }

    pub(super) fn local(&self) -> LocalBus {
        self.state().local.clone()
    }

    pub(super) async fn publish(&self, messages: Vec<Message>) -> Vec<Result<Receipt>> {
        let local = self.local();
        if self.state().plan.is_empty() {
            return local.publish(messages).await;
        }
        let mut receipts = Vec::with_capacity(messages.len());
        for message in messages {
            let fault = self.state().plan.pop_front();
            receipts.push(self.send(&local, message, fault).await);
        }
        receipts
    }

    fn hold(&self, message: Message) {
        let mut state = self.state();
        let now = state.clock.now();
        let expires_at = message.ttl.map(|ttl| now.plus(ttl));
        state.held.push_back((message, expires_at));
    }

    async fn send(&self, local: &LocalBus, message: Message, fault: Option<Fault>) -> Result<Receipt> {
        let has_queue = local.subscribe(&message.address.queue()).is_ok();
        match fault {
            Some(Fault::Refused) => return Err(lost()),
            Some(Fault::Delayed) if has_queue => {
                self.hold(message);
                return Ok(Receipt::Confirmed);
            }
            Some(Fault::Doubled) if has_queue => self.hold(message.clone()),
            _ => (),
        }
        let receipt = local.publish(vec![message]).await.into_iter().next().unwrap_or_else(|| Err(lost()));
        if fault == Some(Fault::ConfirmLost) { Err(lost()) } else { receipt }
    }
}

fn lost() -> Error {
    Error::unavailable("the line to the broker broke")
}
