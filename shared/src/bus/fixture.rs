//! Brokers for tests, one for each driver, and how a test waits for deliveries.

use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::timeout;

use super::rabbit::{Role, Settings};
use super::{Address, Bus, Delivery, LocalBus, Message, Receipt, Subscription};
use crate::clock::{Clock, Time};
use crate::contract::signed::Kind;
use crate::db::Lite;
use crate::id;

/// The longest wait for what must come.
pub const COMES_WITHIN: Duration = Duration::from_secs(20);
/// How long a test watches that nothing comes.
const QUIET: Duration = Duration::from_millis(300);

/// A broker whose bus can be closed and opened again.
pub enum Broker {
    Local { folder: TempDir, clock: Clock },
    Rabbit(Vhost),
}

impl Broker {
    pub fn local() -> Self {
        Self::Local { folder: tempfile::tempdir().unwrap(), clock: Clock::manual(Time(1_000_000)) }
    }

    pub fn rabbit() -> Self {
        Self::Rabbit(Vhost::new())
    }

    /// Opens the bus; what an earlier opening left behind is there again.
    pub async fn open(&self) -> Bus {
        match self {
            Self::Local { folder, clock } => {
                let lite = Lite::open(&folder.path().join("bus.db")).await.unwrap();
                Bus::Local(LocalBus::open(lite, clock.clone()).await.unwrap())
            }
            Self::Rabbit(vhost) => vhost.bus(),
        }
    }

    /// Ends a process that holds something: in the embedded plane without a goodbye.
    pub fn kill(&self, bus: Bus, subscription: Subscription) {
        match self {
            Self::Local { .. } => std::mem::forget(subscription),
            Self::Rabbit(_) => drop(subscription), // as the kernel closes the connection of a dead process
        }
        drop(bus);
    }

    /// Lets time pass: RabbitMQ knows only the real one, and never delivers what is older than its time.
    pub async fn pass(&self, time: Duration) {
        match self {
            Self::Local { clock, .. } => clock.advance(time),
            Self::Rabbit(_) => tokio::time::sleep(time + Duration::from_millis(500)).await,
        }
    }
}

/// A vhost of a test's own, on the RabbitMQ of this machine.
pub struct Vhost(pub String);

impl Vhost {
    pub fn new() -> Self {
        let vhost = Self(format!("muster-test-{}", id::random()));
        ctl(&["add_vhost", &vhost.0]);
        let account = broker();
        let account = account.split(':').next().unwrap();
        ctl(&["set_permissions", "-p", &vhost.0, account, ".*", ".*", ".*"]);
        vhost
    }

    pub fn settings(&self, authority: &str, role: Role) -> Settings {
        Settings { url: format!("amqp://{authority}/{}", self.0), ca_file: None, role, name: self.0.clone() }
    }

    /// The plane's bus.
    pub fn bus(&self) -> Bus {
        Bus::rabbit(&self.settings(&broker(), Role::Plane)).unwrap()
    }
}

impl Drop for Vhost {
    fn drop(&mut self) {
        let outcome = steering(&["delete_vhost", &self.0]).output();
        if !std::thread::panicking() {
            assert!(outcome.unwrap().status.success(), "the vhost is deleted");
        }
    }
}

/// What steers the broker: `rabbitmqctl`, or the words of `MUSTER_TEST_RABBITMQCTL`.
pub fn steering(arguments: &[&str]) -> Command {
    let words = std::env::var("MUSTER_TEST_RABBITMQCTL").unwrap_or_else(|_| "rabbitmqctl".to_owned());
    let mut words = words.split_whitespace();
    let mut command = Command::new(words.next().unwrap());
    command.args(words).arg("-q").args(arguments);
    command
}

/// Where the broker is: this machine's, or that of `MUSTER_TEST_BROKER_URL`.
pub fn broker() -> String {
    let url =
        std::env::var("MUSTER_TEST_BROKER_URL").unwrap_or_else(|_| "amqp://guest:guest@127.0.0.1:5672".to_owned());
    url.trim_start_matches("amqp://").to_owned()
}

/// The broker's host and port.
pub fn broker_address() -> String {
    broker().rsplit('@').next().unwrap().to_owned()
}

/// Steers the broker and returns what it says.
pub fn ctl(arguments: &[&str]) -> String {
    let output = steering(arguments).output();
    let output = output.expect("these tests need a RabbitMQ on this machine; start it");
    assert!(output.status.success(), "rabbitmqctl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

pub fn to_agent(body: &str) -> Message {
    Message { address: Address::Agent("a".into()), body: body.into(), traceparent: Some("t".into()), ttl: None }
}

pub fn report(kind: Kind, body: &str) -> Message {
    Message { address: Address::Report(kind, "a".into()), body: body.into(), traceparent: None, ttl: None }
}

pub async fn publish(bus: &Bus, messages: Vec<Message>) -> Vec<Receipt> {
    bus.publish(messages).await.into_iter().map(Result::unwrap).collect()
}

pub fn bodies(deliveries: &[Delivery]) -> Vec<String> {
    deliveries.iter().map(|delivery| String::from_utf8(delivery.body.clone()).unwrap()).collect()
}

/// So many deliveries, however many takes that needs.
pub async fn exactly(subscription: &mut Subscription, count: usize) -> Vec<Delivery> {
    let mut got = Vec::new();
    while got.len() < count {
        got.extend(some(subscription, count - got.len()).await);
    }
    got
}

/// Up to `most` deliveries, and at least one.
pub async fn some(subscription: &mut Subscription, most: usize) -> Vec<Delivery> {
    let waiting = async {
        loop {
            let deliveries = subscription.take(most).await.unwrap();
            if !deliveries.is_empty() {
                return deliveries;
            }
            subscription.ready().await.unwrap();
        }
    };
    timeout(COMES_WITHIN, waiting).await.expect("something comes")
}

/// Watches that nothing comes.
pub async fn nothing(subscription: &mut Subscription) {
    let arrival = timeout(QUIET, subscription.ready()).await;
    let deliveries = subscription.take(9).await.unwrap();
    assert!(deliveries.is_empty(), "{:?} of {arrival:?}", bodies(&deliveries));
}
