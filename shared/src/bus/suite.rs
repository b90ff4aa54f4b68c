//! What a bus is. Every driver must pass this suite, restart included; a promise that is not tested
//! here is not made.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use tempfile::TempDir;

use super::consume::step;
use super::topology::{DEAD, HEARTBEATS, RESULTS, agent_queue};
use super::{Address, Bus, Consumer, Delivery, Handler, LocalBus, Message, Receipt, Subscription, Verdict};
use crate::clock::{Clock, Time};
use crate::contract::signed::Kind;
use crate::db::Lite;

/// A broker that can be stopped and started again.
struct Broker {
    folder: TempDir,
    clock: Clock,
}

impl Broker {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), clock: Clock::manual(Time(1_000_000)) }
    }

    /// Opens the bus; what an earlier opening left behind is there again.
    async fn open(&self) -> Bus {
        let lite = Lite::open(&self.folder.path().join("bus.db")).await.unwrap();
        Bus::Local(LocalBus::open(lite, self.clock.clone()).await.unwrap())
    }
}

fn to_agent(body: &str) -> Message {
    Message { address: Address::Agent("a".into()), body: body.into(), traceparent: Some("t".into()), ttl: None }
}

fn report(kind: Kind, body: &str) -> Message {
    Message { address: Address::Report(kind, "a".into()), body: body.into(), traceparent: None, ttl: None }
}

async fn publish(bus: &Bus, messages: Vec<Message>) -> Vec<Receipt> {
    bus.publish(messages).await.into_iter().map(Result::unwrap).collect()
}

fn bodies(deliveries: &[Delivery]) -> Vec<String> {
    deliveries.iter().map(|delivery| String::from_utf8(delivery.body.clone()).unwrap()).collect()
}

async fn settle_all(subscription: &mut Subscription, deliveries: &[Delivery], verdict: &Verdict) {
    let verdicts = deliveries.iter().map(|delivery| (delivery.tag, verdict.clone())).collect();
    subscription.settle(verdicts).await.unwrap();
}

#[tokio::test]
async fn a_message_without_a_queue_comes_back() {
    let broker = Broker::new();
    let bus = broker.open().await;
    assert_eq!(publish(&bus, vec![to_agent("x")]).await, [Receipt::Returned]);
    assert!(bus.subscribe(&agent_queue("a")).is_err());
    assert!(bus.declare("a").await.unwrap(), "made");
    assert!(!bus.declare("a").await.unwrap(), "there already");
    let mixed = vec![to_agent("y"), Message { address: Address::Agent("b".into()), ..to_agent("z") }, to_agent("w")];
    assert_eq!(publish(&bus, mixed).await, [Receipt::Confirmed, Receipt::Returned, Receipt::Confirmed]);
}

#[tokio::test]
async fn messages_come_in_order_with_their_trace() {
    let broker = Broker::new();
    let bus = broker.open().await;
    bus.declare("a").await.unwrap();
    let sent: Vec<_> = (0..50).map(|n| n.to_string()).collect();
    publish(&bus, sent.iter().map(|body| to_agent(body)).collect()).await;
    let mut subscription = bus.subscribe(&agent_queue("a")).unwrap();
    let mut got = Vec::new();
    while got.len() < sent.len() {
        let deliveries = subscription.take(7).await.unwrap();
        assert!(
            deliveries.iter().all(|delivery| delivery.traceparent.as_deref() == Some("t") && !delivery.redelivered)
        );
        got.extend(bodies(&deliveries));
        settle_all(&mut subscription, &deliveries, &Verdict::Done).await;
    }
    assert_eq!(got, sent);
}

#[tokio::test]
async fn what_was_confirmed_and_not_settled_survives_the_process() {
    let broker = Broker::new();
    let bus = broker.open().await;
    bus.declare("a").await.unwrap();
    publish(&bus, vec![to_agent("1"), to_agent("2"), to_agent("3"), report(Kind::Result, "r")]).await;
    let mut subscription = bus.subscribe(&agent_queue("a")).unwrap();
    let taken = subscription.take(2).await.unwrap();
    settle_all(&mut subscription, &taken[..1], &Verdict::Done).await;
    std::mem::forget(subscription); // a process that is killed says no goodbye
    drop(bus);
    let bus = broker.open().await;
    assert!(!bus.declare("a").await.unwrap(), "queues survive too");
    let again = bus.subscribe(&agent_queue("a")).unwrap().take(9).await.unwrap();
    assert_eq!(bodies(&again), ["2", "3"]);
    assert!(again[0].redelivered);
    assert_eq!(bodies(&bus.subscribe(RESULTS).unwrap().take(9).await.unwrap()), ["r"]);
    publish(&bus, vec![to_agent("4")]).await;
    let next = bus.subscribe(&agent_queue("a")).unwrap().take(9).await.unwrap();
    assert_eq!(bodies(&next), ["2", "3", "4"], "new messages come behind old ones");
}

#[tokio::test]
async fn again_brings_it_back_to_the_front() {
    let broker = Broker::new();
    let bus = broker.open().await;
    publish(&bus, vec![report(Kind::Result, "1"), report(Kind::Result, "2"), report(Kind::Event, "3")]).await;
    let mut subscription = bus.subscribe(RESULTS).unwrap();
    let taken = subscription.take(2).await.unwrap();
    settle_all(&mut subscription, &taken, &Verdict::Again).await;
    let again = subscription.take(9).await.unwrap();
    assert_eq!(bodies(&again), ["1", "2", "3"]);
    assert_eq!(again.iter().map(|delivery| delivery.redelivered).collect::<Vec<_>>(), [true, true, false]);
}

#[tokio::test]
async fn a_dropped_hold_gives_back_what_it_held() {
    let broker = Broker::new();
    let bus = broker.open().await;
    publish(&bus, vec![report(Kind::Result, "1")]).await;
    let mut first = bus.subscribe(RESULTS).unwrap();
    assert_eq!(first.take(1).await.unwrap().len(), 1);
    drop(first);
    assert_eq!(bodies(&bus.subscribe(RESULTS).unwrap().take(1).await.unwrap()), ["1"]);
}

#[tokio::test]
async fn one_consumer_of_a_server_is_active() {
    let broker = Broker::new();
    let bus = broker.open().await;
    bus.declare("a").await.unwrap();
    publish(&bus, vec![to_agent("1"), to_agent("2")]).await;
    let mut first = bus.subscribe(&agent_queue("a")).unwrap();
    let mut second = bus.subscribe(&agent_queue("a")).unwrap();
    assert_eq!(first.take(1).await.unwrap().len(), 1);
    assert!(second.take(9).await.unwrap().is_empty(), "a cloned agent gets nothing");
    let waiting = tokio::spawn(async move {
        second.ready().await.unwrap();
        bodies(&second.take(9).await.unwrap())
    });
    drop(first);
    assert_eq!(waiting.await.unwrap(), ["1", "2"], "until the first one is gone");
}

#[tokio::test]
async fn expired_messages_are_never_delivered() {
    let broker = Broker::new();
    let bus = broker.open().await;
    bus.declare("a").await.unwrap();
    let short = Message { ttl: Some(Duration::from_secs(5)), ..to_agent("short") };
    publish(&bus, vec![short.clone(), to_agent("long")]).await;
    broker.clock.advance(Duration::from_secs(5));
    let mut subscription = bus.subscribe(&agent_queue("a")).unwrap();
    assert_eq!(bodies(&subscription.take(9).await.unwrap()), ["long"]);
    drop(subscription);
    publish(&bus, vec![short]).await;
    drop(bus);
    broker.clock.advance(Duration::from_secs(5));
    let bus = broker.open().await;
    assert_eq!(bodies(&bus.subscribe(&agent_queue("a")).unwrap().take(9).await.unwrap()), ["long"]);
}

#[tokio::test]
async fn what_is_given_up_lies_with_the_dead_and_its_reason() {
    let broker = Broker::new();
    let bus = broker.open().await;
    publish(&bus, vec![report(Kind::Result, "bad"), report(Kind::Result, "good")]).await;
    let mut subscription = bus.subscribe(RESULTS).unwrap();
    let taken = subscription.take(9).await.unwrap();
    let verdicts = vec![(taken[0].tag, Verdict::Dead("bad_signature".into())), (taken[1].tag, Verdict::Done)];
    subscription.settle(verdicts).await.unwrap();
    for bus in [bus.clone(), broker.open().await] {
        let dead = bus.subscribe(DEAD).unwrap().take(9).await.unwrap();
        assert_eq!(bodies(&dead), ["bad"]);
        assert_eq!(dead[0].reason.as_deref(), Some("bad_signature"));
        assert!(bus.subscribe(RESULTS).unwrap().take(9).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn heartbeats_have_a_queue_of_their_own_and_need_not_survive() {
    let broker = Broker::new();
    let bus = broker.open().await;
    publish(&bus, vec![report(Kind::Heartbeat, "beat"), report(Kind::Event, "event")]).await;
    assert_eq!(bodies(&bus.subscribe(HEARTBEATS).unwrap().take(9).await.unwrap()), ["beat"]);
    assert_eq!(bodies(&bus.subscribe(RESULTS).unwrap().take(9).await.unwrap()), ["event"]);
}

#[tokio::test]
async fn a_deleted_queue_takes_its_messages_along() {
    let broker = Broker::new();
    let bus = broker.open().await;
    bus.declare("a").await.unwrap();
    publish(&bus, vec![to_agent("1")]).await;
    let mut subscription = bus.subscribe(&agent_queue("a")).unwrap();
    bus.delete("a").await.unwrap();
    assert!(subscription.ready().await.is_err(), "its consumer learns of it");
    assert_eq!(publish(&bus, vec![to_agent("2")]).await, [Receipt::Returned]);
    assert!(bus.declare("a").await.unwrap());
    assert!(bus.subscribe(&agent_queue("a")).unwrap().take(9).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_queue_made_anew_is_another_queue() {
    let broker = Broker::new();
    let bus = broker.open().await;
    bus.declare("a").await.unwrap();
    let mut old = bus.subscribe(&agent_queue("a")).unwrap();
    assert!(old.take(9).await.unwrap().is_empty());
    bus.delete("a").await.unwrap();
    bus.declare("a").await.unwrap();
    publish(&bus, vec![to_agent("1")]).await;
    assert!(old.ready().await.is_err(), "an old hold must not wait for ever on a queue that is gone");
    assert!(old.take(9).await.is_err());
    assert_eq!(bodies(&bus.subscribe(&agent_queue("a")).unwrap().take(9).await.unwrap()), ["1"]);
}

#[tokio::test]
async fn a_batch_is_bounded_in_bytes() {
    let broker = Broker::new();
    let bus = broker.open().await;
    let body = "x".repeat(1024 * 1024);
    for _ in 0..20 {
        publish(&bus, vec![report(Kind::Result, &body)]).await;
    }
    let taken = bus.subscribe(RESULTS).unwrap().take(200).await.unwrap();
    assert!((2..=9).contains(&taken.len()), "{}", taken.len());
}

#[tokio::test]
async fn a_long_backlog_is_read_back_from_the_disk() {
    let broker = Broker::new();
    let bus = broker.open().await;
    let body = "x".repeat(512 * 1024);
    for _ in 0..48 {
        publish(&bus, vec![report(Kind::Result, &body)]).await;
    }
    let mut subscription = bus.subscribe(RESULTS).unwrap();
    for _ in 0..48 {
        let deliveries = subscription.take(1).await.unwrap();
        assert_eq!(deliveries[0].body.len(), body.len());
        settle_all(&mut subscription, &deliveries, &Verdict::Done).await;
    }
    assert!(subscription.take(1).await.unwrap().is_empty());
}

/// Judges by what a message says, and remembers what it saw.
#[derive(Default)]
struct Judge(Mutex<Vec<Vec<String>>>);

impl Handler for Judge {
    fn handle(&self, deliveries: Vec<Delivery>) -> BoxFuture<'_, Vec<Verdict>> {
        let seen = bodies(&deliveries);
        let verdict = |body: &String| match body.as_str() {
            "again" => Verdict::Again,
            "bad" => Verdict::Dead("why".into()),
            _ => Verdict::Done,
        };
        let verdicts = seen.iter().map(verdict).collect();
        self.0.lock().unwrap().push(seen);
        Box::pin(async { verdicts })
    }
}

#[tokio::test]
async fn one_bad_message_never_holds_back_its_batch() {
    let broker = Broker::new();
    let bus = broker.open().await;
    publish(&bus, ["1", "bad", "again", "2"].map(|body| report(Kind::Result, body)).to_vec()).await;
    let judge = Arc::new(Judge::default());
    let consumer = Consumer { queue: RESULTS.to_owned(), batch_max: 9, handler: judge.clone() };
    let mut subscription = bus.subscribe(RESULTS).unwrap();
    assert_eq!(step(&mut subscription, &consumer).await.unwrap(), (4, true));
    assert_eq!(step(&mut subscription, &consumer).await.unwrap(), (1, true));
    assert_eq!(judge.0.lock().unwrap().last().unwrap(), &["again"]);
    assert_eq!(bodies(&bus.subscribe(DEAD).unwrap().take(9).await.unwrap()), ["bad"]);
}
