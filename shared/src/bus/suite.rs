//! What a bus is. Every driver must pass this suite, restart included; a promise that is not tested
//! here is not made.
//!
//! A broker pushes its deliveries, so a take may come too early: the tests wait for what must come,
//! with a limit. That nothing comes can only be watched for a while.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;

use super::consume::step;
use super::fixture::{Broker, COMES_WITHIN, bodies, exactly, nothing, publish, report, some, to_agent};
use super::topology::{DEAD, HEARTBEATS, RESULTS, agent_queue};
use super::{Address, Consumer, Delivery, Handler, Message, Receipt, Subscription, Verdict};
use crate::contract::signed::Kind;

/// Runs each promise on every driver.
macro_rules! promises {
    ($($promise:ident)*) => {
        mod local {
            $(#[tokio::test] async fn $promise() { super::$promise(super::Broker::local()).await })*
        }
        mod rabbit {
            $(#[tokio::test] async fn $promise() { super::$promise(super::Broker::rabbit()).await })*
        }
    };
}

promises! {
    a_message_without_a_queue_comes_back
    messages_come_in_order_with_their_trace
    an_empty_take_means_that_all_that_waited_was_taken
    what_was_confirmed_and_not_settled_survives_the_process
    again_brings_it_back_to_the_front
    a_dropped_hold_gives_back_what_it_held
    one_consumer_of_a_server_is_active
    expired_messages_are_never_delivered
    what_is_given_up_lies_with_the_dead_and_its_reason
    heartbeats_have_a_queue_of_their_own_and_need_not_survive
    a_deleted_queue_takes_its_messages_along
    a_queue_made_anew_is_another_queue
    a_batch_is_bounded_in_bytes
    a_long_backlog_is_read_back_from_the_disk
    one_bad_message_never_holds_back_its_batch
    it_says_that_it_is_there
}

async fn settle_all(subscription: &mut Subscription, deliveries: &[Delivery], verdict: &Verdict) {
    let verdicts = deliveries.iter().map(|delivery| (delivery.tag, verdict.clone())).collect();
    subscription.settle(verdicts).await.unwrap();
}

async fn a_message_without_a_queue_comes_back(broker: Broker) {
    let bus = broker.open().await;
    assert_eq!(publish(&bus, vec![to_agent("x")]).await, [Receipt::Returned]);
    assert!(bus.subscribe(&agent_queue("a")).await.is_err());
    bus.declare("a").await.unwrap();
    bus.declare("a").await.unwrap(); // twice is as once
    let mixed = vec![to_agent("y"), Message { address: Address::Agent("b".into()), ..to_agent("z") }, to_agent("w")];
    assert_eq!(publish(&bus, mixed).await, [Receipt::Confirmed, Receipt::Returned, Receipt::Confirmed]);
}

async fn messages_come_in_order_with_their_trace(broker: Broker) {
    let bus = broker.open().await;
    bus.declare("a").await.unwrap();
    let sent: Vec<_> = (0..50).map(|n| n.to_string()).collect();
    publish(&bus, sent.iter().map(|body| to_agent(body)).collect()).await;
    let mut subscription = bus.subscribe(&agent_queue("a")).await.unwrap();
    let mut got = Vec::new();
    while got.len() < sent.len() {
        let deliveries = some(&mut subscription, 7).await;
        assert!(
            deliveries.iter().all(|delivery| delivery.traceparent.as_deref() == Some("t") && !delivery.redelivered)
        );
        got.extend(bodies(&deliveries));
        settle_all(&mut subscription, &deliveries, &Verdict::Done).await;
    }
    assert_eq!(got, sent);
}

async fn an_empty_take_means_that_all_that_waited_was_taken(broker: Broker) {
    let bus = broker.open().await;
    bus.declare("a").await.unwrap();
    for waiting in [1; 20].into_iter().chain([1_000]) {
        publish(&bus, vec![to_agent("x"); waiting]).await;
        let mut subscription = bus.subscribe(&agent_queue("a")).await.unwrap();
        let mut taken = 0;
        loop {
            let deliveries = subscription.take(100).await.unwrap();
            if deliveries.is_empty() {
                break;
            }
            taken += deliveries.len();
            settle_all(&mut subscription, &deliveries, &Verdict::Done).await;
        }
        assert_eq!(taken, waiting);
    }
}

async fn what_was_confirmed_and_not_settled_survives_the_process(broker: Broker) {
    let bus = broker.open().await;
    bus.declare("a").await.unwrap();
    publish(&bus, vec![to_agent("1"), to_agent("2"), to_agent("3"), report(Kind::Result, "r")]).await;
    let mut subscription = bus.subscribe(&agent_queue("a")).await.unwrap();
    let taken = exactly(&mut subscription, 2).await;
    settle_all(&mut subscription, &taken[..1], &Verdict::Done).await;
    broker.kill(bus, subscription);
    let bus = broker.open().await;
    bus.declare("a").await.unwrap(); // which takes nothing out of a queue that has survived
    let again = exactly(&mut bus.subscribe(&agent_queue("a")).await.unwrap(), 2).await;
    assert_eq!(bodies(&again), ["2", "3"]);
    assert!(again[0].redelivered);
    assert_eq!(bodies(&exactly(&mut bus.subscribe(RESULTS).await.unwrap(), 1).await), ["r"]);
    publish(&bus, vec![to_agent("4")]).await;
    let next = exactly(&mut bus.subscribe(&agent_queue("a")).await.unwrap(), 3).await;
    assert_eq!(bodies(&next), ["2", "3", "4"], "new messages come behind old ones");
}

async fn again_brings_it_back_to_the_front(broker: Broker) {
    let bus = broker.open().await;
    publish(&bus, vec![report(Kind::Result, "1"), report(Kind::Result, "2"), report(Kind::Event, "3")]).await;
    let mut subscription = bus.subscribe(RESULTS).await.unwrap();
    let taken = exactly(&mut subscription, 2).await;
    settle_all(&mut subscription, &taken, &Verdict::Again).await;
    let again = exactly(&mut subscription, 3).await;
    assert_eq!(bodies(&again), ["1", "2", "3"]);
    assert_eq!(again.iter().map(|delivery| delivery.redelivered).collect::<Vec<_>>(), [true, true, false]);
}

async fn a_dropped_hold_gives_back_what_it_held(broker: Broker) {
    let bus = broker.open().await;
    publish(&bus, vec![report(Kind::Result, "1")]).await;
    let mut first = bus.subscribe(RESULTS).await.unwrap();
    assert_eq!(bodies(&exactly(&mut first, 1).await), ["1"]);
    drop(first);
    assert_eq!(bodies(&exactly(&mut bus.subscribe(RESULTS).await.unwrap(), 1).await), ["1"]);
}

async fn one_consumer_of_a_server_is_active(broker: Broker) {
    let bus = broker.open().await;
    bus.declare("a").await.unwrap();
    publish(&bus, vec![to_agent("1"), to_agent("2")]).await;
    let mut first = bus.subscribe(&agent_queue("a")).await.unwrap();
    let mut second = bus.subscribe(&agent_queue("a")).await.unwrap();
    assert_eq!(bodies(&exactly(&mut first, 1).await), ["1"]);
    nothing(&mut second).await; // a cloned agent gets nothing
    let waiting = tokio::spawn(async move { bodies(&exactly(&mut second, 2).await) });
    drop(first);
    assert_eq!(waiting.await.unwrap(), ["1", "2"], "until the first one is gone");
}

async fn expired_messages_are_never_delivered(broker: Broker) {
    let bus = broker.open().await;
    bus.declare("a").await.unwrap();
    let ttl = Duration::from_millis(400);
    let short = Message { ttl: Some(ttl), ..to_agent("short") };
    publish(&bus, vec![short.clone(), to_agent("long")]).await;
    broker.pass(ttl).await;
    let mut subscription = bus.subscribe(&agent_queue("a")).await.unwrap();
    assert_eq!(bodies(&exactly(&mut subscription, 1).await), ["long"]);
    nothing(&mut subscription).await;
    drop(subscription);
    publish(&bus, vec![short]).await;
    drop(bus);
    broker.pass(ttl).await;
    let bus = broker.open().await;
    let mut subscription = bus.subscribe(&agent_queue("a")).await.unwrap();
    assert_eq!(bodies(&exactly(&mut subscription, 1).await), ["long"]);
    nothing(&mut subscription).await;
}

async fn what_is_given_up_lies_with_the_dead_and_its_reason(broker: Broker) {
    let bus = broker.open().await;
    publish(&bus, vec![report(Kind::Result, "bad"), report(Kind::Result, "good")]).await;
    let mut subscription = bus.subscribe(RESULTS).await.unwrap();
    let taken = exactly(&mut subscription, 2).await;
    let verdicts = vec![(taken[0].tag, Verdict::Dead("bad_signature".into())), (taken[1].tag, Verdict::Done)];
    subscription.settle(verdicts).await.unwrap();
    drop(subscription);
    for bus in [bus.clone(), broker.open().await] {
        let dead = exactly(&mut bus.subscribe(DEAD).await.unwrap(), 1).await;
        assert_eq!(bodies(&dead), ["bad"]);
        assert_eq!(dead[0].reason.as_deref(), Some("bad_signature"));
        assert_eq!(dead[0].given_up_in.as_deref(), Some(RESULTS));
        nothing(&mut bus.subscribe(RESULTS).await.unwrap()).await;
    }
}

async fn heartbeats_have_a_queue_of_their_own_and_need_not_survive(broker: Broker) {
    let bus = broker.open().await;
    publish(&bus, vec![report(Kind::Heartbeat, "beat"), report(Kind::Event, "event")]).await;
    assert_eq!(bodies(&exactly(&mut bus.subscribe(HEARTBEATS).await.unwrap(), 1).await), ["beat"]);
    assert_eq!(bodies(&exactly(&mut bus.subscribe(RESULTS).await.unwrap(), 1).await), ["event"]);
}

async fn a_deleted_queue_takes_its_messages_along(broker: Broker) {
    let bus = broker.open().await;
    bus.declare("a").await.unwrap();
    publish(&bus, vec![to_agent("1")]).await;
    let mut subscription = bus.subscribe(&agent_queue("a")).await.unwrap();
    bus.delete("a").await.unwrap();
    let learns = async {
        while subscription.ready().await.is_ok() {
            drop(subscription.take(9).await); // what was delivered before it went
        }
    };
    tokio::time::timeout(COMES_WITHIN, learns).await.expect("its consumer learns of it");
    assert_eq!(publish(&bus, vec![to_agent("2")]).await, [Receipt::Returned]);
    bus.declare("a").await.unwrap();
    nothing(&mut bus.subscribe(&agent_queue("a")).await.unwrap()).await;
}

async fn a_queue_made_anew_is_another_queue(broker: Broker) {
    let bus = broker.open().await;
    bus.declare("a").await.unwrap();
    let mut old = bus.subscribe(&agent_queue("a")).await.unwrap();
    nothing(&mut old).await;
    bus.delete("a").await.unwrap();
    bus.declare("a").await.unwrap();
    publish(&bus, vec![to_agent("1")]).await;
    assert!(old.ready().await.is_err(), "an old hold must not wait for ever on a queue that is gone");
    assert!(old.take(9).await.is_err());
    assert_eq!(bodies(&exactly(&mut bus.subscribe(&agent_queue("a")).await.unwrap(), 1).await), ["1"]);
}

async fn a_batch_is_bounded_in_bytes(broker: Broker) {
    let bus = broker.open().await;
    let body = "x".repeat(1024 * 1024);
    for _ in 0..20 {
        publish(&bus, vec![report(Kind::Result, &body)]).await;
    }
    let mut subscription = bus.subscribe(RESULTS).await.unwrap();
    let mut batches = Vec::new();
    while batches.iter().sum::<usize>() < 20 {
        batches.push(some(&mut subscription, 200).await.len());
    }
    assert!(batches.iter().all(|batch| *batch <= 9), "{batches:?}");
}

async fn a_long_backlog_is_read_back_from_the_disk(broker: Broker) {
    let bus = broker.open().await;
    let body = "x".repeat(512 * 1024);
    for _ in 0..48 {
        publish(&bus, vec![report(Kind::Result, &body)]).await;
    }
    let mut subscription = bus.subscribe(RESULTS).await.unwrap();
    for _ in 0..48 {
        let deliveries = exactly(&mut subscription, 1).await;
        assert_eq!(deliveries[0].body.len(), body.len());
        settle_all(&mut subscription, &deliveries, &Verdict::Done).await;
    }
    nothing(&mut subscription).await;
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

async fn one_bad_message_never_holds_back_its_batch(broker: Broker) {
    let bus = broker.open().await;
    publish(&bus, ["1", "bad", "again", "2"].map(|body| report(Kind::Result, body)).to_vec()).await;
    let judge = Arc::new(Judge::default());
    let consumer = Consumer::new(RESULTS, 9, judge.clone());
    let mut subscription = bus.subscribe(RESULTS).await.unwrap();
    let all = exactly(&mut subscription, 4).await;
    settle_all(&mut subscription, &all, &Verdict::Again).await; // so that they make one batch
    assert_eq!(step(&mut subscription, &consumer).await.unwrap(), (4, true));
    assert_eq!(step(&mut subscription, &consumer).await.unwrap(), (1, true));
    assert_eq!(judge.0.lock().unwrap().last().unwrap(), &["again"]);
    assert_eq!(bodies(&exactly(&mut bus.subscribe(DEAD).await.unwrap(), 1).await), ["bad"]);
}

async fn it_says_that_it_is_there(broker: Broker) {
    let bus = broker.open().await;
    bus.declare("a").await.unwrap(); // so that it had the time to connect
    assert!(bus.ping().await.is_ok());
}
