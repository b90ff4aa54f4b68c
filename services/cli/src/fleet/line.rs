//! The simulated agents at the broker: a few connections, on each of them several hundred agents with a
//! queue each, as a channel for each needs no more.
//!
//! An agent waits at its queue and hands what comes to its line, which answers for all its agents
//! together: verified and signed on a thread of its own, published in one go. Only then does the agent
//! acknowledge. One lost connection ends the run: what it would measure is no longer the plane.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};
use shared::bus::rabbit::Role;
use shared::bus::topology::agent_queue;
use shared::bus::{Bus, Delivery, Message, Receipt, Subscription, Verdict};
use shared::clock::Clock;
use shared::config::Source;
use shared::error::{Error, Kind, Result};
use shared::run::broker;
use shared::sign::TrustedKey;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::answer::answer;
use super::keys::{Host, cores};
use super::spent::{self, Spent};
use crate::run::progress::Progress;

/// Agents on one connection, each with a channel; RabbitMQ allows 2,047 channels by default.
const AGENTS_PER_LINE: usize = 500;
/// Subscriptions under way at a time.
const SUBSCRIBING_MAX: usize = 32;
/// How long the plane may take to declare all queues.
const QUEUES_WAIT: Duration = Duration::from_secs(300);
/// Between two looks for a queue that is not there yet.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Deliveries that an agent takes at a time.
const TAKE_MAX: usize = 16;
/// Agents that are answered for together.
const TOGETHER_MAX: usize = 128;

/// Connections enough for so many agents, and at least as many as there are cores to sign on.
pub fn connect(agents: usize) -> Result<Vec<Bus>> {
    let settings = Source::load()?;
    let lines = agents.div_ceil(AGENTS_PER_LINE).max(cores().min(agents));
    (1..=lines).map(|line| broker(&settings, Role::Agent, &format!("muster fleet {line} of {lines}"))).collect()
}

/// Sees whether the broker can be reached, before anything is made for it.
pub async fn reach(buses: &[Bus]) -> Result<()> {
    for bus in buses {
        match bus.subscribe(&agent_queue("")).await {
            Err(error) if error.kind() != Kind::NotFound => return Err(error),
            _ => (), // nobody has that queue; it was the broker that said so
        }
    }
    Ok(())
}

/// What has come for an agent, to be answered for it.
struct Call {
    host: Arc<Host>,
    deliveries: Vec<Delivery>,
    answered: oneshot::Sender<()>,
}

/// All simulated agents at work. They stop when this is dropped.
pub struct Lines {
    jobs: JoinSet<Result<Infallible>>,
    spent: Arc<Spent>,
}

impl Lines {
    /// Waits until every agent has its queue, and lets them work.
    pub async fn start(buses: Vec<Bus>, hosts: &[Arc<Host>], plane: Vec<TrustedKey>) -> Result<Self> {
        let (plane, spent, mut jobs) = (Arc::new(plane), Arc::<Spent>::default(), JoinSet::new());
        let (progress, until, mut ready) = (Progress::new(), Instant::now() + QUEUES_WAIT, 0);
        for (bus, hosts_of_line) in buses.iter().zip(hosts.chunks(hosts.len().div_ceil(buses.len()))) {
            let (caller, calls) = mpsc::channel(TOGETHER_MAX);
            jobs.spawn(speak(bus.clone(), Arc::clone(&plane), calls, Arc::clone(&spent)));
            let subscribed = futures::stream::iter(hosts_of_line)
                .map(|host| async { Ok::<_, Error>((Arc::clone(host), subscribe(bus, host, until).await?)) });
            let mut subscribed = subscribed.buffer_unordered(SUBSCRIBING_MAX);
            while let Some((host, subscription)) = subscribed.try_next().await? {
                jobs.spawn(attend(host, subscription, caller.clone()));
                ready += 1;
                progress.say(&format!("{ready} of {} agents at their queues", hosts.len()));
            }
        }
        Ok(Self { jobs, spent })
    }

    /// What they did so far.
    pub fn spent(&self) -> &Spent {
        &self.spent
    }

    /// Waits until one of them cannot go on.
    pub async fn failed(&mut self) -> Error {
        match self.jobs.join_next().await {
            Some(Ok(Err(error))) => error,
            Some(Err(error)) => Error::internal(error),
            Some(Ok(Ok(never))) => match never {},
            None => gone(),
        }
    }
}

fn gone() -> Error {
    Error::unavailable("the simulated agents have stopped; run it again")
}

async fn subscribe(bus: &Bus, host: &Host, until: Instant) -> Result<Subscription> {
    let queue = agent_queue(host.hostname.as_str());
    loop {
        match bus.subscribe(&queue).await {
            Err(error) if error.kind() == Kind::NotFound && Instant::now() < until => sleep(LOOK_EVERY).await,
            outcome => return outcome,
        }
    }
}

/// One agent: waits at its queue for as long as it can.
async fn attend(host: Arc<Host>, mut queue: Subscription, line: mpsc::Sender<Call>) -> Result<Infallible> {
    loop {
        queue.ready().await?;
        let deliveries = queue.take(TAKE_MAX).await?;
        let done: Vec<_> = deliveries.iter().map(|delivery| (delivery.tag, Verdict::Done)).collect();
        let (answered, answer) = oneshot::channel();
        line.send(Call { host: Arc::clone(&host), deliveries, answered }).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?;
        queue.settle(done).await?;
    }
}

/// One line: answers for its agents.
async fn speak(
    bus: Bus,
    plane: Arc<Vec<TrustedKey>>,
    mut calls: mpsc::Receiver<Call>,
    spent: Arc<Spent>,
) -> Result<Infallible> {
    loop {
        let mut together = Vec::new();
        if calls.recv_many(&mut together, TOGETHER_MAX).await == 0 {
            return Err(gone());
        }
        let (plane, spent) = (Arc::clone(&plane), Arc::clone(&spent));
        let work = move || (answers(&together, &plane, &spent), together);
        let (messages, together) = tokio::task::spawn_blocking(work).await.map_err(Error::internal)?;
        for receipt in bus.publish(messages?).await {
            if receipt? == Receipt::Returned {
                return Err(Error::unavailable("the broker has no queue for results; see whether the plane runs"));
            }
        }
        for call in together {
            _ = call.answered.send(()); // the agent may have stopped; its delivery comes again
        }
    }
}

fn answers(calls: &[Call], plane: &[TrustedKey], spent: &Spent) -> Result<Vec<Message>> {
    let (before, now) = (spent::of_thread()?, Clock::System.now());
    let deliveries = calls.iter().flat_map(|call| call.deliveries.iter().map(|delivery| (&call.host, delivery)));
    let answers: Vec<_> =
        deliveries.map(|(host, delivery)| answer(host, delivery, plane, now)).collect::<Result<_>>()?;
    let asked = answers.len();
    let messages: Vec<_> = answers.into_iter().flatten().collect();
    spent.note(spent::of_thread()?.saturating_sub(before), asked - messages.len());
    Ok(messages)
}
