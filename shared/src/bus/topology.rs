//! The queues and exchanges by name, and which way leads where. The plane declares all of them;
//! an agent declares nothing.

use std::borrow::Cow;

use aws_lc_rs::digest::{SHA256, digest};

use crate::contract::signed::Kind;

/// Where commands go in, on a broker: a direct exchange, keyed by hostname.
pub const COMMANDS: &str = "muster.commands";
/// Where reports and dead letters go in, on a broker: a topic exchange.
pub const REPORTS: &str = "muster.reports";

/// Results and events, for the ingestor.
pub const RESULTS: &str = "muster.results";
/// Heartbeats, for the ingestor; never in the way of results.
pub const HEARTBEATS: &str = "muster.heartbeats";
/// What could not be handled, with the reason.
pub const DEAD: &str = "muster.dead";

/// The routing key of a dead letter.
pub const DEAD_KEY: &str = "dead";

/// What the name of a server's queue begins with.
const AGENT_PREFIX: &str = "muster.agent.";

/// The longest hostname that is written out in a name, in bytes: AMQP's names have 255 at most, and
/// the longest that is put before one is [`AGENT_PREFIX`].
const WRITTEN_OUT_BYTES_MAX: usize = 255 - AGENT_PREFIX.len();
/// Bytes of a longer hostname that are kept, so that an operator still recognises it.
const KEPT_BYTES: usize = 160;

/// A server's queue.
pub fn agent_queue(hostname: &str) -> String {
    format!("{AGENT_PREFIX}{}", fitted(hostname))
}

/// A hostname as part of a name. One that is too long is cut, and told apart from others that begin
/// alike by its digest behind a `~`, which no hostname contains.
fn fitted(hostname: &str) -> Cow<'_, str> {
    if hostname.len() <= WRITTEN_OUT_BYTES_MAX {
        return Cow::Borrowed(hostname);
    }
    let kept = &hostname[..hostname.floor_char_boundary(KEPT_BYTES)];
    Cow::Owned(format!("{kept}~{}", hex::encode(digest(&SHA256, hostname.as_bytes()))))
}

/// Whether it is a server's queue.
pub fn is_agent_queue(name: &str) -> bool {
    agent_of(name).is_some()
}

/// Whose queue it is. Of a hostname that was too long it is the cut form, which leads to the same queue.
pub fn agent_of(name: &str) -> Option<&str> {
    name.strip_prefix(AGENT_PREFIX)
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

    /// The exchange that it goes through, and its routing key there.
    pub fn route(&self) -> (&'static str, String) {
        match self {
            Self::Agent(hostname) => (COMMANDS, fitted(hostname).into_owned()),
            Self::Report(kind, hostname) => (REPORTS, format!("{}.{}", report_word(*kind), fitted(hostname))),
        }
    }

    /// Whether the message must survive a restart: all but heartbeats.
    pub const fn is_durable(&self) -> bool {
        !matches!(self, Self::Report(Kind::Heartbeat, _))
    }
}

/// What the routing key of a report begins with.
const fn report_word(kind: Kind) -> &'static str {
    match kind {
        Kind::Event => "event",
        Kind::Heartbeat => "heartbeat",
        Kind::Result | Kind::Command | Kind::Cancel => "result",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_hostname_fits_into_a_name_of_its_own() {
        let long = |last: &str| format!("{}{last}", "a.".repeat(126));
        let (one, other) = (long("b"), long("c"));
        assert_eq!(one.len(), 253);
        assert_ne!(agent_queue(&one), agent_queue(&other));
        for hostname in ["web-1", &one, &"x".repeat(242), &"x".repeat(243)] {
            assert!(agent_queue(hostname).len() <= 255);
            assert!(is_agent_queue(&agent_queue(hostname)));
            for kind in [Kind::Result, Kind::Event, Kind::Heartbeat] {
                assert!(Address::Report(kind, hostname.to_owned()).route().1.len() <= 255);
            }
        }
        assert_eq!(agent_queue("web-1"), "muster.agent.web-1", "an operator recognises it");
        for queue in [agent_queue("web-1"), agent_queue(&one)] {
            assert_eq!(agent_queue(agent_of(&queue).unwrap()), queue);
        }
    }
}
