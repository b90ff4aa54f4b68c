//! A hold on a queue: deliveries pushed by the broker, taken in batches, settled together.
//!
//! What shall come again is kept here, unsettled at the broker, and handed out first by the next
//! take. So it comes back to the front in its old order, whatever was fetched ahead of need, it does
//! not travel in circles while the database is away, and no broker counts it towards a delivery
//! limit. Should this process die or the connection break, the broker delivers all of it anew.
//!
//! Deliveries arrive when they do, also those that waited in the queue all along. So it is asked first
//! how many there are, and a take comes back empty only when they have come, or when for a while none
//! has: an agent starts nothing before it has seen the cancels that wait behind its commands. What the
//! broker believes to be with a consumer that has died unnoticed is not among them.
//!
//! What was settled is acknowledged up to the lowest delivery that is still open in one frame, and
//! singly beyond it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt as _, StreamExt as _};
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Consumer};

use super::answer::{answer, away, is_missing, is_refused, short, trouble, within};
use super::link::Line;
use super::{gone, plan, publish, wire};
use crate::bus::{BATCH_BYTES_MAX, Delivery, Verdict};
use crate::error::{Error, Result};

/// How long a take waits for one delivery of those that were in the queue: the next may have expired
/// there, or have gone to another consumer.
const OWED_WAIT: Duration = Duration::from_secs(2);

/// A hold on a queue.
#[derive(Debug)]
pub struct Subscription {
    line: Arc<Line>,
    queue: String,
    channel: Channel,
    consumer: Consumer,
    /// Arrived and not taken, or to be taken again.
    waiting: VecDeque<Delivery>,
    /// Taken and not settled.
    held: BTreeMap<u64, Delivery>,
    /// How many waited in the queue when the hold was taken, and have not arrived.
    owed: u32,
    /// Why nothing more will come.
    ended: Option<End>,
}

#[derive(Clone, Copy, Debug)]
enum End {
    Deleted,
    Lost,
}

impl Subscription {
    pub(super) async fn start(line: Arc<Line>, queue: &str) -> Result<Self> {
        let (channel, owed) = Self::look(&line, queue).await?;
        within(channel.basic_qos(line.prefetch, BasicQosOptions::default())).await?;
        let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
        let consume = channel.basic_consume(short(queue)?, short("")?, options, arguments);
        let refused = |error| if is_missing(&error) { gone(queue) } else { trouble(error) };
        let consumer = answer(consume).await?.map_err(refused)?;
        let (waiting, held) = (VecDeque::new(), BTreeMap::new());
        Ok(Self { line, queue: queue.to_owned(), channel, consumer, waiting, held, owed, ended: None })
    }

    /// A channel, and how many messages wait in the queue: any number, when the broker does not say.
    async fn look(line: &Line, queue: &str) -> Result<(Channel, u32)> {
        let channel = line.channel().await?;
        match plan::waiting(&channel, queue).await? {
            Ok(waiting) => Ok((channel, waiting)),
            Err(error) if is_missing(&error) => Err(gone(queue)),
            // RabbitMQ 4.2.6 and 4.3.0 tell only those who may also declare.
            Err(error) if is_refused(&error) => Ok((line.channel().await?, u32::MAX)),
            Err(error) => Err(trouble(error)),
        }
    }

    pub(in crate::bus) async fn ready(&mut self) -> Result<()> {
        if self.waiting.is_empty() {
            self.check()?;
            let next = self.consumer.next().await;
            self.arrived(next);
        }
        self.check()
    }

    pub(in crate::bus) async fn take(&mut self, most: usize) -> Result<Vec<Delivery>> {
        while self.ended.is_none()
            && let Some(next) = self.consumer.next().now_or_never()
        {
            self.arrived(next);
        }
        if self.ended.is_none() && self.waiting.is_empty() && self.owed > 0 {
            self.await_owed().await;
        }
        self.check()?;
        let (mut taken, mut bytes) = (Vec::new(), 0);
        while taken.len() < most && bytes < BATCH_BYTES_MAX {
            let Some(delivery) = self.waiting.pop_front() else { break };
            bytes += delivery.body.len();
            self.held.insert(delivery.tag, delivery.clone());
            taken.push(delivery);
        }
        Ok(taken)
    }

    /// Dead letters first: they are acknowledged only once the broker has them in their new queue.
    pub(in crate::bus) async fn settle(&mut self, verdicts: Vec<(u64, Verdict)>) -> Result<()> {
        self.check()?;
        self.bury(&verdicts).await?;
        let (again, done): (Vec<_>, Vec<_>) = verdicts.into_iter().partition(|(_, verdict)| *verdict == Verdict::Again);
        self.put_back(again.into_iter().map(|(tag, _)| tag));
        let done: BTreeSet<_> = done.into_iter().filter_map(|(tag, _)| self.held.remove(&tag).map(|_| tag)).collect();
        self.acknowledge(done).await
    }

    async fn await_owed(&mut self) {
        match tokio::time::timeout(OWED_WAIT, self.consumer.next()).await {
            Ok(next) => self.arrived(next),
            Err(_) => self.owed = 0,
        }
    }

    fn arrived(&mut self, next: Option<lapin::Result<lapin::message::Delivery>>) {
        match next {
            Some(Ok(arrival)) => {
                self.owed = self.owed.saturating_sub(1);
                self.waiting.push_back(wire::delivery(arrival));
            }
            Some(Err(_)) => self.ended = Some(End::Lost),
            None => self.ended = Some(End::Deleted), // the broker ends a consumer when its queue goes
        }
    }

    fn check(&self) -> Result<(), Error> {
        match self.ended {
            None => Ok(()),
            Some(End::Deleted) => Err(gone(&self.queue)),
            Some(End::Lost) => Err(away("the connection was lost")),
        }
    }

    async fn bury(&self, verdicts: &[(u64, Verdict)]) -> Result<()> {
        let letter = |(tag, verdict): &(u64, Verdict)| match verdict {
            Verdict::Dead(reason) => self.held.get(tag).map(|held| wire::dead_letter(held, &self.queue, reason)),
            _ => None,
        };
        let letters = verdicts.iter().filter_map(letter).collect::<Result<Vec<_>>>()?;
        publish::dead_letters(&self.line, letters).await
    }

    fn put_back(&mut self, tags: impl Iterator<Item = u64>) {
        let tags: BTreeSet<_> = tags.collect();
        for tag in tags.into_iter().rev() {
            if let Some(delivery) = self.held.remove(&tag) {
                self.waiting.push_front(Delivery { redelivered: true, ..delivery });
            }
        }
    }

    async fn acknowledge(&self, mut done: BTreeSet<u64>) -> Result<()> {
        let waiting = self.waiting.iter().map(|delivery| delivery.tag);
        let open = waiting.chain(self.held.keys().copied()).min().unwrap_or(u64::MAX);
        let beyond = done.split_off(&open);
        let run = done.last().map(|tag| (*tag, true));
        for (tag, multiple) in run.into_iter().chain(beyond.into_iter().map(|tag| (tag, false))) {
            within(self.channel.basic_ack(tag, BasicAckOptions { multiple })).await?;
        }
        Ok(())
    }
}
