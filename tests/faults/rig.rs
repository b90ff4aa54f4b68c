//! The plane under test: real processes over a real database and broker, each behind a way that can
//! be broken, and whatever the cells do to them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use shared::crash::{self, Point};

use crate::caller::{Caller, Work};
use crate::mysql::Database;
use crate::process::{Launch, free_port};
use crate::proxy::Proxy;
use crate::server::Servers;
use crate::stack::Stack;
use crate::vhost::Vhost;

/// The services that may be killed, by name.
pub const SERVICES: [&str; 4] = ["muster-gateway", "muster-inventory", "muster-tasks", "muster-result-ingestor"];
/// How long a condition may take to come true on a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// How often it is looked at.
pub const LOOK: Duration = Duration::from_millis(50);
/// Commands sent at most until a crash point is hit.
pub const COMMANDS_MAX: usize = 1_000;

/// A plane with agents, and everything that a cell may break.
pub struct Rig {
    pub stack: Stack,
    pub caller: Arc<Caller>,
    /// Between the services and the broker.
    pub broker: Proxy,
    /// Between the agents and the broker.
    pub agents: Proxy,
    /// Between the services and the database.
    pub database: Proxy,
    pub hosts: Vec<String>,
    /// Dead letters that the plane may keep, because a cell provoked them.
    pub planted: usize,
    /// Servers of the rig's own; they end after what uses them.
    pub servers: Option<Servers>,
}

impl Rig {
    /// A plane on the servers of this machine.
    pub async fn new(hosts: &[&str]) -> Self {
        Self::on(Database::new().await, Vhost::new(), None, hosts).await
    }

    /// A plane on servers of its own, which may be killed.
    pub async fn apart(hosts: &[&str]) -> Self {
        let servers = Servers::start().await;
        let (database, vhost) = (servers.database().await, servers.vhost());
        Self::on(database, vhost, Some(servers), hosts).await
    }

    async fn on(database: Database, vhost: Vhost, servers: Option<Servers>, hosts: &[&str]) -> Self {
        let (to_database, to_broker) = (host_of(&database.url()), host_of(&vhost.plane_url()));
        let ways = (Proxy::to(&to_broker).await, Proxy::to(&to_broker).await, Proxy::to(&to_database).await);
        let (broker, agents, way_to_database) = ways;
        let stack = Stack::on(database, vhost, hosts, |mut ways| {
            ways.broker = by(&ways.broker, &broker);
            ways.agents = by(&ways.agents, &agents);
            let user = servers.as_ref().map_or_else(|| ways.database.clone(), |own| own.as_user(&ways.database));
            ways.database = by(&user, &way_to_database);
            if let Some(own) = &servers {
                let ca = own.ca().display().to_string();
                ways.env.extend([("MUSTER_DATABASE_CA_FILE", ca.clone()), ("MUSTER_BROKER_CA_FILE", ca)]);
            }
            ways
        })
        .await;
        let caller = Caller::new(&stack.url(""), stack.folder.path());
        let hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
        Self { stack, caller, broker, agents, database: way_to_database, hosts, planted: 0, servers }
    }

    /// `kill -9`.
    pub fn kill(&mut self, name: &str) {
        self.stack.process(name).kill();
    }

    /// Starts what was killed, unarmed.
    pub fn revive(&mut self, name: &str) {
        let process = self.stack.process(name);
        process.launch.env.retain(|(variable, _)| *variable != crash::VARIABLE);
        process.restart();
    }

    /// Starts a program anew that dies when it passes `point` for the `passing`th time.
    pub fn arm(&mut self, name: &str, point: Point, passing: u32) {
        self.kill(name);
        let process = self.stack.process(name);
        process.launch.env.retain(|(variable, _)| *variable != crash::VARIABLE);
        process.launch.env.push((crash::VARIABLE, format!("{}:{passing}", point.name())));
        process.restart();
    }

    fn deaths(&mut self, name: &str, point: Point) -> usize {
        let last_words = format!("killed at {}", point.name());
        self.stack.process(name).launch.said().lines().filter(|line| *line == last_words).count()
    }

    /// Waits until an armed program has died where it should, sending commands meanwhile, and starts it
    /// again.
    pub async fn strike(&mut self, name: &str, point: Point, passing: u32) {
        self.arm(name, point, passing);
        let sending = self.caller.sending(COMMANDS_MAX);
        self.dead(name, point).await;
        self.revive(name);
        sending.stop().await;
    }

    /// Waits until an armed program has died where it should.
    pub async fn dead(&mut self, name: &str, point: Point) {
        let start = Instant::now();
        while self.stack.process(name).status().is_none() {
            assert!(start.elapsed() < PATIENCE, "{name} does not come to {}", point.name());
            tokio::time::sleep(LOOK).await;
        }
        assert!(self.deaths(name, point) > 0, "{name} died, and not at {}: {}", point.name(), self.stack.logs());
    }

    /// Stops a process for a while, as a machine that is paused.
    pub async fn pause(&mut self, name: &str, lasting: Duration) {
        self.stack.process(name).signal(Signal::SIGSTOP);
        tokio::time::sleep(lasting).await;
        self.stack.process(name).signal(Signal::SIGCONT);
    }

    /// A further process of a service.
    pub fn second(&mut self, name: &'static str) -> String {
        let first = self.stack.process(name).launch.clone();
        let listen = format!("127.0.0.1:{}", free_port());
        let env = first.env.into_iter();
        let env = env.map(|(key, value)| if key == "MUSTER_LISTEN" { (key, listen.clone()) } else { (key, value) });
        let second = format!("second {name}");
        let log = self.stack.folder.path().join(format!("{second}.log"));
        let launch = Launch { env: env.collect(), log, ..first };
        self.stack.processes.insert(second.clone(), launch.start());
        second
    }

    /// Everything that can heal heals.
    pub async fn heal(&mut self) {
        for way in [&self.broker, &self.agents, &self.database] {
            way.mend();
        }
        let names: Vec<_> = self.stack.processes.keys().cloned().collect();
        for name in names {
            let process = self.stack.process(&name);
            if process.status().is_some() {
                self.revive(&name);
            } else {
                process.signal(Signal::SIGCONT);
            }
        }
        self.stack.until_healthy().await;
    }

    /// Waits until a server's commands have counted so many runs more than `before`.
    pub async fn until_ran(&self, host: &str, count: usize) {
        let start = Instant::now();
        let file = self.stack.folder.path().join(format!("{host}.runs"));
        while std::fs::read_to_string(&file).unwrap_or_default().lines().count() < count {
            assert!(start.elapsed() < PATIENCE, "{host} does not run {count} commands: {}", self.stack.logs());
            tokio::time::sleep(LOOK).await;
        }
    }

    /// How many runs a server's commands have counted.
    pub fn ran(&self, host: &str) -> usize {
        let file = self.stack.folder.path().join(format!("{host}.runs"));
        std::fs::read_to_string(file).unwrap_or_default().lines().count()
    }

    /// Sends so many commands, and waits until all of them are accepted.
    pub async fn send(&self, count: usize) {
        for number in 0..count {
            self.caller.post(Work::mixed(number), serde_json::json!({})).await;
        }
    }

    /// Asks the broker's steering about this rig's virtual host.
    pub fn steer(&self, command: &str, arguments: &[&str]) -> String {
        let vhost = &self.stack.vhost;
        tokio::task::block_in_place(|| vhost.steer(&[&[command, "--vhost", vhost.name()], arguments].concat()))
    }
}

fn host_of(url: &str) -> String {
    let rest = url.rsplit('@').next().unwrap();
    rest.split('/').next().unwrap().to_owned()
}

fn by(url: &str, proxy: &Proxy) -> String {
    url.replace(&host_of(url), &proxy.address.to_string())
}
