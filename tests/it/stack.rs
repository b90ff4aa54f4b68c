//! The deployed plane: the four services and agents as processes of their own, over MySQL and
//! RabbitMQ, each run in a database and a virtual host of its own.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::path::Path;
use std::time::{Duration, Instant};

use shared::store;
use tempfile::TempDir;

use crate::harness::{Door, PATIENCE};
use crate::mysql::Database;
use crate::process::{Launch, Process, free_port};
use crate::vhost::Vhost;

/// What callers of the plane send.
pub const TOKEN: &str = "a-token-for-this-test-alone";
/// A policy that lets agents run what their account may.
const OPEN_POLICY: &str = "enabled = true\n\n[[allow]]\nusers = [\"*\"]\nany = true\n";

/// A deployed plane.
pub struct Stack {
    door: Door,
    /// The services and agents by name.
    pub processes: BTreeMap<String, Process>,
    pub folder: TempDir,
    /// Dropped after the processes that use them.
    pub database: Database,
    pub vhost: Vhost,
}

impl Deref for Stack {
    type Target = Door;

    fn deref(&self) -> &Door {
        &self.door
    }
}

/// Where the programs reach others: the real ones, or something of the test's own in between.
pub struct Ways {
    pub database: String,
    pub broker: String,
    /// The broker, with the agents' account.
    pub agents: String,
    /// What every program's environment holds besides.
    pub env: Vec<(&'static str, String)>,
}

impl Stack {
    /// A plane with these agents, ready.
    pub async fn new(agents: &[&str]) -> Self {
        Self::by(agents, |ways| ways).await
    }

    /// The same, with another way to database and broker.
    pub async fn by(agents: &[&str], way: impl FnOnce(Ways) -> Ways) -> Self {
        Self::on(Database::new().await, Vhost::new(), agents, way).await
    }

    /// The same on a database and a virtual host that are there.
    pub async fn on(database: Database, vhost: Vhost, agents: &[&str], way: impl FnOnce(Ways) -> Ways) -> Self {
        let folder = tempfile::tempdir().unwrap();
        database.open().await.close().await;
        let ways = way(Ways {
            database: database.url(),
            broker: vhost.plane_url(),
            agents: vhost.agent_url(),
            env: Vec::new(),
        });
        let mut processes = BTreeMap::new();
        let mut ports = BTreeMap::new();
        for name in ["muster-inventory", "muster-tasks", "muster-result-ingestor"] {
            let port = free_port();
            ports.insert(name, port);
            processes.insert(name.to_owned(), service(folder.path(), name, port, &ways, &[]).start());
        }
        let url = |name: &str| format!("http://127.0.0.1:{}", ports[name]);
        let upstreams = [
            ("MUSTER_INVENTORY_URL", url("muster-inventory")),
            ("MUSTER_TASKS_URL", url("muster-tasks")),
            ("MUSTER_RESULT_INGESTOR_URL", url("muster-result-ingestor")),
        ];
        let port = free_port();
        let gateway = service(folder.path(), "muster-gateway", port, &ways, &upstreams).start();
        processes.insert("muster-gateway".to_owned(), gateway);
        let door = Door::new(&format!("http://127.0.0.1:{port}"), Some(TOKEN));
        let mut stack = Self { door, processes, folder, database, vhost };
        stack.until_healthy().await;
        for agent in agents {
            stack.enrol(agent, &ways);
        }
        for agent in agents {
            stack.until(&format!("/api/servers/{agent}"), |server| server["status"] == "online").await;
        }
        stack
    }

    /// Waits until every part of the plane works.
    pub async fn until_healthy(&self) {
        let start = Instant::now();
        loop {
            let answer = self.http.get(self.url("/api/health")).send().await;
            let said = match answer {
                Ok(answer) if answer.status().is_success() => return,
                Ok(answer) => answer.text().await.unwrap_or_default(),
                Err(error) => error.to_string(),
            };
            assert!(start.elapsed() < PATIENCE, "the plane is not healthy: {said}\n{}", self.logs());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until nothing is left to be moved: all that was sent is at the broker, and all queues that
    /// were to go are gone.
    pub async fn until_relayed(&self) {
        let (db, start) = (self.database.pool(), Instant::now());
        while store::outbox::backlog(&db).await.unwrap().0 > 0 {
            assert!(start.elapsed() < PATIENCE, "the outbox is not emptied: {}", self.logs());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        db.close().await;
    }

    fn enrol(&mut self, hostname: &str, ways: &Ways) {
        let folder = self.folder.path();
        let dir = folder.join(format!("agent-{hostname}"));
        let policy = folder.join("policy.toml");
        std::fs::write(&policy, OPEN_POLICY).unwrap();
        let enrol = ["enroll", "--url", &self.url(""), "--hostname", hostname, "--group", "web"].map(str::to_owned);
        let mut env = vec![
            ("MUSTER_TOKEN", TOKEN.to_owned()),
            ("MUSTER_HOSTNAME", hostname.to_owned()),
            ("MUSTER_AGENT_DIR", dir.display().to_string()),
            ("MUSTER_POLICY", policy.display().to_string()),
            ("MUSTER_BROKER_URL", ways.agents.clone()),
        ];
        env.extend_from_slice(&ways.env);
        let log = folder.join(format!("agent-{hostname}.log"));
        let launch = Launch { name: "muster-agent", arguments: enrol.to_vec(), env, log };
        assert!(launch.run().success(), "{}", launch.said());
        let launch = Launch { arguments: vec!["run".to_owned()], ..launch };
        self.processes.insert(hostname.to_owned(), launch.start());
    }

    pub fn process(&mut self, name: &str) -> &mut Process {
        self.processes.get_mut(name).unwrap()
    }

    /// The last lines that each process wrote.
    pub fn logs(&self) -> String {
        let last = |process: &Process| {
            let said = process.launch.said();
            let lines: Vec<_> = said.lines().rev().take(15).collect();
            lines.into_iter().rev().collect::<Vec<_>>().join("\n")
        };
        self.processes.iter().map(|(name, process)| format!("--- {name}\n{}\n", last(process))).collect()
    }

    /// Asks everything to stop; each must end well.
    pub fn stop(mut self) {
        for (name, process) in &mut self.processes {
            let status = process.stop();
            assert!(status.success(), "{name} ended with {status}: {}", process.launch.said());
        }
    }
}

fn service(folder: &Path, name: &'static str, port: u16, ways: &Ways, more: &[(&'static str, String)]) -> Launch {
    let mut env = vec![
        ("MUSTER_LISTEN", format!("127.0.0.1:{port}")),
        ("MUSTER_API_TOKEN", TOKEN.to_owned()),
        ("MUSTER_RATE_LIMIT", "0".to_owned()), // one caller is all the callers here
        ("MUSTER_DATABASE_URL", ways.database.clone()),
        ("MUSTER_BROKER_URL", ways.broker.clone()),
        ("MUSTER_SIGNING_KEY_FILE", folder.join("signing-key.pem").display().to_string()),
    ];
    env.extend(more.iter().chain(&ways.env).cloned());
    Launch { name, arguments: Vec::new(), env, log: folder.join(format!("{name}.log")) }
}
