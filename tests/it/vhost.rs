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
    steered_by: String,
    name: String,
}

impl Vhost {
    /// Makes an empty one.
    pub fn new() -> Self {
        let broker = std::env::var("MUSTER_TEST_BROKER_URL").unwrap_or_else(|_| BROKER_DEFAULT.to_owned());
        let steered_by = std::env::var("MUSTER_TEST_RABBITMQCTL").unwrap_or_else(|_| STEERED_BY.to_owned());
        Self::at(broker, steered_by)
    }

    /// The same on a broker of the test's own, and what steers it.
    pub fn at(broker: String, steered_by: String) -> Self {
        let vhost = Self { broker, steered_by, name: format!("muster_test_{}", shared::id::random()) };
        let name = vhost.name.as_str();
        vhost.steer(&["add_vhost", name]);
        vhost.steer(&["set_permissions", "-p", name, vhost.account(), ".*", ".*", ".*"]);
        vhost.steer(&["add_user", name, name]);
        vhost.steer(&[&["set_permissions", "-p", name, name], AGENT_MAY.as_slice()].concat());
        vhost
    }

    /// Its name, which is also that of its agents' account.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Steers the broker, and returns what it says.
    pub fn steer(&self, arguments: &[&str]) -> String {
        let mut words = self.steered_by.split_whitespace();
        let mut steering = Command::new(words.next().unwrap());
        let done = steering.args(words).arg("--quiet").args(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr);
        let by = &self.steered_by;
        assert!(done.status.success() || std::thread::panicking(), "{by} {arguments:?} failed: {said}");
        String::from_utf8_lossy(&done.stdout).into_owned()
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
        let (scheme, host) = (self.broker.split("//").next().unwrap(), self.broker.rsplit('@').next().unwrap());
        format!("{scheme}//{0}:{0}@{host}/{0}", self.name)
    }
}

impl Drop for Vhost {
    fn drop(&mut self) {
        self.steer(&["delete_vhost", self.name()]);
        self.steer(&["delete_user", self.name()]);
    }
}
