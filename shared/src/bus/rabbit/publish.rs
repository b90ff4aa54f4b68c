//! Publishing with confirms, many under way at a time.
//!
//! A batch has a channel to itself. The broker answers a message without a queue by returning it
//! before it confirms it, and lapin hands the returned message out with whichever confirm of that
//! channel comes next; so it is recognised by its id, among the confirms of one batch. A channel on
//! which anything went wrong is dropped, never used again.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};

use futures::FutureExt as _;
use lapin::message::BasicReturnMessage;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::ShortString;
use lapin::{Channel, Confirmation, PublisherConfirm};
use tokio::sync::Semaphore;

use super::answer::{away, why, within};
use super::link::Line;
use super::wire::Outgoing;
use crate::bus::{Receipt, topology};
use crate::crash::{self, Point};
use crate::error::{Error, Result};

/// Messages of a batch that await their confirm at a time.
const WINDOW: usize = 256;
/// Batches that are sent at a time, over one connection.
const BATCHES_MAX: usize = 8;

/// A message that is not wanted by any queue shall come back.
const MANDATORY: BasicPublishOptions = BasicPublishOptions { mandatory: true, immediate: false };

/// The channels for publishing.
#[derive(Debug)]
pub(super) struct Publishers {
    turns: Semaphore,
    free: Mutex<Vec<Channel>>,
}

impl Default for Publishers {
    fn default() -> Self {
        Self { turns: Semaphore::new(BATCHES_MAX), free: Mutex::default() }
    }
}

impl Publishers {
    fn take(&self) -> Option<Channel> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).pop().filter(|channel| channel.status().connected())
    }

    fn give_back(&self, channel: Channel) {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).push(channel);
    }
}

/// What was heard of a batch.
#[derive(Default)]
struct Heard {
    /// Whether the broker took each message, in order, for as many as it answered.
    taken: Vec<bool>,
    /// The ids of those that came back.
    returned: HashSet<String>,
}

/// Publishes a batch in its order.
///
/// # Errors
/// When none of it was sent.
pub(super) async fn batch(line: &Line, messages: Vec<Outgoing>) -> Result<Vec<Result<Receipt>>> {
    if line.connection.status().blocked() {
        return Err(away("it takes nothing in, for want of memory or disk"));
    }
    let _turn = line.publishers.turns.acquire().await.map_err(away)?;
    let channel = match line.publishers.take() {
        Some(channel) => channel,
        None => open(line).await?,
    };
    let mut heard = Heard::default();
    let outcome = send(&channel, &messages, &mut heard).await;
    let mut receipts = heard.receipts(&messages);
    match outcome {
        Ok(()) => line.publishers.give_back(channel),
        Err(error) => receipts.extend(each_failed(messages.len() - receipts.len(), &error)),
    }
    Ok(receipts)
}

/// Publishes dead letters, each of which has to find its queue.
pub(super) async fn dead_letters(line: &Line, letters: Vec<Outgoing>) -> Result<()> {
    if letters.is_empty() {
        return Ok(());
    }
    for receipt in batch(line, letters).await? {
        if receipt? == Receipt::Returned {
            return Err(away("there is no queue for dead letters; the plane declares it when it connects"));
        }
    }
    Ok(())
}

/// The same failure for each of so many messages.
pub(super) fn each_failed(count: usize, error: &Error) -> Vec<Result<Receipt>> {
    let cause = why(error);
    (0..count).map(|_| Err(Error::new(error.kind(), error.detail()).because(cause.clone()))).collect()
}

async fn open(line: &Line) -> Result<Channel> {
    let channel = line.channel().await?;
    within(channel.confirm_select(ConfirmSelectOptions::default())).await?;
    Ok(channel)
}

async fn send(channel: &Channel, messages: &[Outgoing], heard: &mut Heard) -> Result<()> {
    let mut waiting = VecDeque::new();
    let outcome = exchange(channel, messages, &mut waiting, heard).await;
    // A later confirm that is there already may hold what tells of an earlier message.
    for confirmation in waiting.into_iter().filter_map(|confirm: PublisherConfirm| confirm.now_or_never()) {
        heard.note_return(confirmation.ok().and_then(Confirmation::take_message));
    }
    outcome
}

async fn exchange(
    channel: &Channel,
    messages: &[Outgoing],
    waiting: &mut VecDeque<PublisherConfirm>,
    heard: &mut Heard,
) -> Result<()> {
    let mut unsent = messages.iter();
    loop {
        while waiting.len() < WINDOW
            && let Some(message) = unsent.next()
        {
            let Outgoing { exchange, key, properties, body, .. } = message;
            let sent = channel.basic_publish(exchange.clone(), key.clone(), MANDATORY, body, properties.clone());
            waiting.push_back(within(sent).await?);
            unconfirmed(exchange, key);
        }
        let Some(oldest) = waiting.pop_front() else { return Ok(()) };
        heard.note(within(oldest).await?);
    }
}

/// The message is on its way, and nobody has heard what became of it.
fn unconfirmed(exchange: &ShortString, key: &ShortString) {
    match (exchange.as_str(), key.as_str()) {
        (topology::COMMANDS, _) => crash::point(Point::RelaySent),
        (_, topology::DEAD_KEY) => crash::point(Point::DeadLetterSent),
        (_, key) if key.starts_with("result.") => crash::point(Point::AgentSent),
        _ => (), // heartbeats and events tell nothing that is not told again
    }
}

impl Heard {
    fn note(&mut self, confirmation: Confirmation) {
        self.taken.push(confirmation.is_ack());
        self.note_return(confirmation.take_message());
    }

    fn note_return(&mut self, message: Option<BasicReturnMessage>) {
        let id = message.as_ref().and_then(|message| message.properties.message_id().as_ref());
        self.returned.extend(id.map(|id| id.as_str().to_owned()));
    }

    fn receipts(&self, messages: &[Outgoing]) -> Vec<Result<Receipt>> {
        let receipt = |(message, taken): (&Outgoing, &bool)| match taken {
            true if self.returned.contains(&message.id) => Ok(Receipt::Returned),
            true => Ok(Receipt::Confirmed),
            false => Err(away("it did not take the message; its queue is full, or it is short of memory or disk")),
        };
        messages.iter().zip(&self.taken).map(receipt).collect()
    }
}
