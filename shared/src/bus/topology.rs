//! The queues and exchanges by name, and which way leads where. The plane declares all of them;
//! an agent declares nothing.

use crate::contract::signed::Kind;

/// Results and events, for the ingestor.
pub const RESULTS: &str = "muster.results";
/// Heartbeats, for the ingestor; never in the way of results.
pub const HEARTBEATS: &str = "muster.heartbeats";
/// What could not be handled, with the reason.
pub const DEAD: &str = "muster.dead";

/// What the name of a server's queue begins with.
const AGENT_PREFIX: &str = "muster.agent.";

/// A server's queue.
pub fn agent_queue(hostname: &str) -> String {
    format!("{AGENT_PREFIX}{hostname}")
}

/// Whether it is a server's queue.
pub fn is_agent_queue(name: &str) -> bool {
    name.starts_with(AGENT_PREFIX)
}

/// Where a message goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// To a server's agent.
    Agent(String),
    /// From the agent of a server to the ingestor.
    Report(Kind, String),
}

impl Address {
    /// The queue that it leads to.
    pub fn queue(&self) -> String {
        match self {
            Self::Agent(hostname) => agent_queue(hostname),
            Self::Report(Kind::Heartbeat, _) => HEARTBEATS.to_owned(),
            Self::Report(..) => RESULTS.to_owned(),
        }
    }

    /// Whether the message must survive a restart: all but heartbeats.
    pub const fn is_durable(&self) -> bool {
        !matches!(self, Self::Report(Kind::Heartbeat, _))
    }
}
