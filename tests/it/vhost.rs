//! A virtual host of one's own on the RabbitMQ of this machine, or on the one that the environment
//! names. Gone when the test is over, however it ends.

use std::process::Command;

/// Where the broker is unless `MUSTER_TEST_BROKER_URL` says otherwise; without a virtual host's name.
const BROKER_DEFAULT: &str = "amqp://guest:guest@127.0.0.1:5672";
/// What steers it unless `MUSTER_TEST_RABBITMQCTL` says otherwise.
const STEERED_BY: &str = "rabbitmqctl";
/// What an agent's account may do: (configure, write, read).
const AGENT_MAY: [&str; 3] = ["^$", r"^muster\.reports$", r"^muster\.agent\..*$"];

/// A virtual host, deleted with this, and an account of the agents in it.
pub struct Vhost {
    broker: String,
    name: String,
}

impl Vhost {
    /// Makes an empty one.
    pub fn new() -> Self {
        let broker = std::env::var("MUSTER_TEST_BROKER_URL").unwrap_or_else(|_| BROKER_DEFAULT.to_owned());
        let vhost = Self { broker, name: format!("muster_test_{}", shared::id::random()) };
        let name = vhost.name.as_str();
        steer(&["add_vhost", name]);
        steer(&["set_permissions", "-p", name, vhost.account(), ".*", ".*", ".*"]);
        steer(&["add_user", name, name]);
        steer(&[&["set_permissions", "-p", name, name], AGENT_MAY.as_slice()].concat());
        vhost
    }

    fn account(&self) -> &str {
        self.broker.split("//").nth(1).and_then(|rest| rest.split(':').next()).unwrap()
    }

    /// Its URL for the plane.
    pub fn plane_url(&self) -> String {
        format!("{}/{}", self.broker, self.name)
    }

    /// Its URL for agents.
    pub fn agent_url(&self) -> String {
        let host = self.broker.rsplit('@').next().unwrap();
        format!("amqp://{0}:{0}@{host}/{0}", self.name)
    }
}

impl Drop for Vhost {
    fn drop(&mut self) {
        steer(&["delete_vhost", &self.name]);
        steer(&["delete_user", &self.name]);
    }
}

fn steer(arguments: &[&str]) {
    let by = std::env::var("MUSTER_TEST_RABBITMQCTL").unwrap_or_else(|_| STEERED_BY.to_owned());
    let mut words = by.split_whitespace();
    let done = Command::new(words.next().unwrap()).args(words).arg("--quiet").args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success() || std::thread::panicking(), "{by} {arguments:?} failed: {said}");
}
