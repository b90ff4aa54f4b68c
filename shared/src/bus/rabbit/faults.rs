//! What happens when the broker, the wire or its rules are not as wished.

use std::collections::HashSet;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::answer::ANSWER_WAIT;
use super::proxy::{Proxy, Way};
use super::settings::Role;
use crate::bus::fixture::{
    COMES_WITHIN, Vhost, bodies, broker, broker_address, ctl, exactly, nothing, publish, report, steering, to_agent,
};
use crate::bus::topology::{DEAD, HEARTBEATS, RESULTS, agent_queue};
use crate::bus::{Address, Bus, Message, Receipt, Subscription, Verdict};
use crate::contract::signed::Kind;
use crate::error::Kind as Failure;
use crate::id;

/// How long a fault may last for whoever keeps trying.
const HEALS_WITHIN: Duration = Duration::from_secs(60);

/// The plane's bus on a way that can be cut.
async fn wired(vhost: &Vhost, way: Way) -> (Bus, Proxy) {
    let proxy = Proxy::to(&broker_address()).await;
    proxy.set(way);
    let authority = broker().replace(&broker_address(), &proxy.address.to_string());
    (Bus::rabbit(&vhost.settings(&authority, Role::Plane)).unwrap(), proxy)
}

/// Publishes until the broker confirms.
async fn insist(bus: &Bus, message: Message) {
    let confirmed = async {
        while bus.publish(vec![message.clone()]).await.remove(0).is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(HEALS_WITHIN, confirmed).await.expect("the broker confirms in the end");
}

async fn subscribe(bus: &Bus, queue: &str) -> Subscription {
    let held = async {
        loop {
            if let Ok(subscription) = bus.subscribe(queue).await {
                return subscription;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(HEALS_WITHIN, held).await.expect("the queue is there in the end")
}

/// Consumes until all of `wanted` were seen, through whatever happens.
async fn consume_all(bus: &Bus, queue: &str, wanted: HashSet<String>) {
    let mut missing = wanted;
    while !missing.is_empty() {
        let mut subscription = subscribe(bus, queue).await;
        while let Ok(()) = subscription.ready().await {
            let Ok(deliveries) = subscription.take(50).await else { break };
            for body in bodies(&deliveries) {
                missing.remove(&body);
            }
            let done = deliveries.iter().map(|delivery| (delivery.tag, Verdict::Done)).collect();
            if subscription.settle(done).await.is_err() || missing.is_empty() {
                break;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_closed_again_and_again_loses_nothing() {
    let vhost = Vhost::new();
    let (bus, proxy) = wired(&vhost, Way::Open).await;
    let numbers: Vec<_> = (0..1_000).map(|number: u32| number.to_string()).collect();
    let (consuming, wanted) = (bus.clone(), numbers.iter().cloned().collect());
    let consumer = tokio::spawn(async move { consume_all(&consuming, RESULTS, wanted).await });
    for (place, number) in numbers.iter().enumerate() {
        match place {
            300 => drop(ctl(&["close_all_connections", "--vhost", &vhost.0, "a test"])),
            600 => proxy.set(Way::Cut),
            601 => drop(timeout(Duration::from_secs(1), bus.publish(vec![report(Kind::Event, "lost")])).await),
            602 => proxy.set(Way::Open),
            _ => {}
        }
        if place != 600 && place != 601 {
            insist(&bus, report(Kind::Result, number)).await;
        }
    }
    insist(&bus, report(Kind::Result, "600")).await;
    insist(&bus, report(Kind::Result, "601")).await;
    timeout(HEALS_WITHIN, consumer).await.expect("all that was confirmed arrives").unwrap();
}

#[tokio::test]
async fn a_broker_that_is_away_at_the_start_is_waited_for() {
    let vhost = Vhost::new();
    let (bus, proxy) = wired(&vhost, Way::Cut).await;
    let started = Instant::now();
    let error = bus.publish(vec![report(Kind::Result, "early")]).await.remove(0).unwrap_err();
    assert_eq!(error.kind(), Failure::Unavailable);
    assert!(started.elapsed() < ANSWER_WAIT * 2, "{:?}", started.elapsed());
    assert!(bus.ping().await.is_err());
    proxy.set(Way::Open);
    insist(&bus, report(Kind::Result, "late")).await;
    assert!(bus.ping().await.is_ok());
    assert_eq!(bodies(&exactly(&mut subscribe(&bus, RESULTS).await, 1).await), ["late"]);
}

#[tokio::test]
async fn a_frozen_wire_fails_by_the_clock_and_heals() {
    let vhost = Vhost::new();
    let (bus, proxy) = wired(&vhost, Way::Open).await;
    insist(&bus, report(Kind::Result, "1")).await;
    let mut subscription = bus.subscribe(RESULTS).await.unwrap();
    exactly(&mut subscription, 1).await;
    proxy.set(Way::Frozen);
    let started = Instant::now();
    let failed = bus.publish(vec![report(Kind::Result, "2"), report(Kind::Result, "3")]).await;
    assert!(failed.iter().all(Result::is_err));
    assert!(started.elapsed() < ANSWER_WAIT * 2, "{:?}", started.elapsed());
    assert!(bus.ping().await.is_err());
    let silent = timeout(HEALS_WITHIN, subscription.ready()).await.expect("heartbeats tell of the silence");
    assert_eq!(silent.unwrap_err().kind(), Failure::Unavailable);
    proxy.set(Way::Open);
    insist(&bus, report(Kind::Result, "4")).await;
    consume_all(&bus, RESULTS, ["1", "4"].map(str::to_owned).into()).await;
}

/// A second hold on a server's queue, to which nothing comes as long as there is the first one, and to which
/// some of what waits is owed: the first one has only as much as it may hold.
async fn owed(bus: &Bus) -> [Subscription; 2] {
    bus.declare("a").await.unwrap();
    publish(bus, vec![to_agent("x"); 500]).await;
    let mut first = bus.subscribe(&agent_queue("a")).await.unwrap();
    exactly(&mut first, 1).await;
    [first, bus.subscribe(&agent_queue("a")).await.unwrap()]
}

#[tokio::test]
async fn who_waits_for_what_is_owed_learns_that_the_wire_was_cut() {
    let vhost = Vhost::new();
    for is_known_before in [false, true] {
        let (bus, proxy) = wired(&vhost, Way::Open).await;
        let [_first, mut second] = owed(&bus).await;
        if is_known_before {
            proxy.set(Way::Cut);
            let noticed = async { while bus.ping().await.is_ok() {} };
            timeout(HEALS_WITHIN, noticed).await.expect("it is noticed");
        }
        let cut = async { proxy.set(Way::Cut) };
        let (taken, ()) = tokio::join!(second.take(1), cut);
        assert_eq!(taken.unwrap_err().kind(), Failure::Unavailable);
        assert_eq!(second.take(1).await.unwrap_err().kind(), Failure::Unavailable);
        vhost.bus().delete("a").await.unwrap();
    }
}

#[tokio::test]
async fn who_waits_for_what_is_owed_learns_that_the_queue_was_deleted() {
    let vhost = Vhost::new();
    let bus = vhost.bus();
    let [_first, mut second] = owed(&bus).await;
    let (taken, deleted) = tokio::join!(second.take(1), bus.delete("a"));
    deleted.unwrap();
    assert_eq!(taken.unwrap_err().kind(), Failure::NotFound);
}

#[tokio::test]
async fn a_peer_that_never_greets_is_given_up() {
    let vhost = Vhost::new();
    let (bus, proxy) = wired(&vhost, Way::Frozen).await;
    // Two limits of an attempt: the one that hangs, and the first that looks before it tries.
    assert!(bus.subscribe(RESULTS).await.is_err());
    assert!(bus.subscribe(RESULTS).await.is_err());
    proxy.set(Way::Open);
    insist(&bus, report(Kind::Result, "1")).await;
    assert_eq!(bodies(&exactly(&mut subscribe(&bus, RESULTS).await, 1).await), ["1"]);
}

#[tokio::test]
async fn the_longest_hostname_has_a_queue_and_may_report() {
    let vhost = Vhost::new();
    let bus = vhost.bus();
    let host = format!("{}b", "a.".repeat(126));
    assert_eq!(host.len(), 253);
    bus.declare(&host).await.unwrap();
    let to = |address| Message { address, ..to_agent("x") };
    let kinds = [Kind::Result, Kind::Event, Kind::Heartbeat].map(|kind| to(Address::Report(kind, host.clone())));
    let all = [vec![to(Address::Agent(host.clone()))], kinds.to_vec()].concat();
    assert_eq!(publish(&bus, all).await, [Receipt::Confirmed; 4]);
    exactly(&mut bus.subscribe(&agent_queue(&host)).await.unwrap(), 1).await;
    exactly(&mut bus.subscribe(RESULTS).await.unwrap(), 2).await;
    exactly(&mut bus.subscribe(HEARTBEATS).await.unwrap(), 1).await;
}

/// A broker's user as agents have one, gone with the test.
struct AgentUser(String);

impl AgentUser {
    fn new(vhost: &Vhost) -> Self {
        let user = Self(format!("muster-test-{}", id::random()));
        ctl(&["add_user", &user.0, "secret"]);
        ctl(&["set_permissions", "-p", &vhost.0, &user.0, "^$", r"^muster\.reports$", r"^muster\.agent\."]);
        user
    }
}

impl Drop for AgentUser {
    fn drop(&mut self) {
        drop(steering(&["delete_user", &self.0]).output());
    }
}

#[tokio::test]
async fn an_agents_user_needs_to_declare_nothing() {
    let vhost = Vhost::new();
    let user = AgentUser::new(&vhost);
    let plane = vhost.bus();
    plane.declare("a").await.unwrap();
    let settings = vhost.settings(&format!("{}:secret@{}", user.0, broker_address()), Role::Agent);
    let agent = Bus::rabbit(&settings).unwrap();
    publish(&plane, vec![to_agent("good"), to_agent("bad")]).await;
    let mut line = agent.subscribe(&agent_queue("a")).await.unwrap();
    let commands = exactly(&mut line, 2).await;
    let verdicts = vec![(commands[0].tag, Verdict::Done), (commands[1].tag, Verdict::Dead("expired".into()))];
    line.settle(verdicts).await.unwrap();
    assert_eq!(publish(&agent, vec![report(Kind::Result, "done")]).await, [Receipt::Confirmed]);
    let dead = exactly(&mut plane.subscribe(DEAD).await.unwrap(), 1).await;
    assert_eq!((bodies(&dead), dead[0].reason.as_deref()), (vec!["bad".to_owned()], Some("expired")));
    assert_eq!(bodies(&exactly(&mut plane.subscribe(RESULTS).await.unwrap(), 1).await), ["done"]);
    assert_eq!(agent.declare("b").await.unwrap_err().kind(), Failure::Forbidden);
    assert_eq!(agent.subscribe(RESULTS).await.unwrap_err().kind(), Failure::Forbidden);
    assert!(agent.publish(vec![to_agent("forged")]).await[0].is_err());
    assert_eq!(publish(&agent, vec![report(Kind::Event, "on")]).await, [Receipt::Confirmed], "it goes on after that");
}

#[tokio::test]
async fn a_queue_that_an_administrator_deletes_is_noticed_and_made_again() {
    let vhost = Vhost::new();
    let bus = vhost.bus();
    bus.declare("a").await.unwrap();
    let mut subscription = bus.subscribe(&agent_queue("a")).await.unwrap();
    ctl(&["delete_queue", "--vhost", &vhost.0, &agent_queue("a")]);
    let noticed = timeout(COMES_WITHIN, subscription.ready()).await.expect("it is noticed");
    assert_eq!(noticed.unwrap_err().kind(), Failure::NotFound);
    assert_eq!(bus.subscribe(&agent_queue("a")).await.unwrap_err().kind(), Failure::NotFound);
    assert_eq!(publish(&bus, vec![to_agent("1")]).await, [Receipt::Returned]);
    bus.declare("a").await.unwrap();
    assert_eq!(publish(&bus, vec![to_agent("1")]).await, [Receipt::Confirmed]);
}

#[tokio::test]
async fn returned_messages_are_told_apart_in_a_long_batch() {
    let vhost = Vhost::new();
    let bus = vhost.bus();
    bus.declare("a").await.unwrap();
    let to = |number: usize| if number.is_multiple_of(3) { "nobody" } else { "a" };
    let message = |number| Message { address: Address::Agent(to(number).to_owned()), ..to_agent(&number.to_string()) };
    let batches = (0..4).map(|_| bus.publish((0..1_000).map(message).collect()));
    for receipts in futures::future::join_all(batches).await {
        for (number, receipt) in receipts.into_iter().enumerate() {
            let wanted = if number.is_multiple_of(3) { Receipt::Returned } else { Receipt::Confirmed };
            assert_eq!(receipt.unwrap(), wanted, "{number}");
        }
    }
}

#[tokio::test]
async fn what_a_full_queue_refuses_is_not_taken_for_stored() {
    let vhost = Vhost::new();
    let bus = vhost.bus();
    publish(&bus, vec![report(Kind::Result, "fits")]).await; // by then the queue is declared
    let full = r#"{"max-length": 1, "overflow": "reject-publish"}"#;
    ctl(&["set_policy", "--vhost", &vhost.0, "full", r"^muster\.results$", full]);
    let refused = async {
        loop {
            if let Err(error) = bus.publish(vec![report(Kind::Result, "more")]).await.remove(0) {
                return error;
            }
        }
    };
    let error = timeout(HEALS_WITHIN, refused).await.expect("a full queue takes no more");
    assert_eq!(error.kind(), Failure::Unavailable);
}

#[tokio::test]
async fn settling_out_of_order_acknowledges_just_what_was_settled() {
    let vhost = Vhost::new();
    let bus = vhost.bus();
    bus.declare("a").await.unwrap();
    publish(&bus, (0..6).map(|number| to_agent(&number.to_string())).collect()).await;
    let mut subscription = bus.subscribe(&agent_queue("a")).await.unwrap();
    let taken = exactly(&mut subscription, 6).await;
    let settle = |places: &[usize], verdict: Verdict| {
        places.iter().map(|place| (taken[*place].tag, verdict.clone())).collect::<Vec<_>>()
    };
    subscription.settle(settle(&[4, 1], Verdict::Done)).await.unwrap();
    subscription.settle(settle(&[2], Verdict::Again)).await.unwrap();
    subscription.settle(settle(&[0], Verdict::Done)).await.unwrap();
    drop(subscription);
    let mut subscription = bus.subscribe(&agent_queue("a")).await.unwrap();
    let left = exactly(&mut subscription, 3).await;
    assert_eq!(bodies(&left), ["2", "3", "5"]);
    subscription.settle(left.iter().map(|delivery| (delivery.tag, Verdict::Done)).collect()).await.unwrap();
    drop(subscription);
    nothing(&mut bus.subscribe(&agent_queue("a")).await.unwrap()).await;
}

/// More than a connection has channels.
const MORE_THAN_CHANNELS: usize = 2_100;
/// How long so many questions may take on a loaded machine.
const ASKED_WITHIN: Duration = Duration::from_secs(300);

#[tokio::test]
async fn declaring_uses_up_no_channels() {
    let vhost = Vhost::new();
    let bus = vhost.bus();
    for _ in 0..MORE_THAN_CHANNELS {
        bus.declare("a").await.unwrap();
    }
}

/// Each attempt at a queue that is not there costs a channel: they must not run out for good.
#[tokio::test]
async fn a_missing_queue_may_be_asked_for_any_number_of_times() {
    let vhost = Vhost::new();
    let bus = vhost.bus();
    let refused = async {
        let mut refusals = 0;
        while refusals < MORE_THAN_CHANNELS {
            match bus.subscribe("muster.agent.nobody").await.map_err(|error| error.kind()) {
                Err(Failure::NotFound) => refusals += 1,
                Err(Failure::Unavailable) => tokio::time::sleep(Duration::from_millis(20)).await,
                outcome => panic!("{outcome:?}"),
            }
        }
    };
    timeout(ASKED_WITHIN, refused).await.expect("it connects anew");
}
