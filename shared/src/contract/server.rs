//! Servers, as `/api/servers` shows and takes them.

use serde::{Deserialize, Serialize};

use crate::clock::Time;

/// Body of `POST /api/servers`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NewServer {
    /// The server's name.
    pub hostname: String,
    /// Its address, for people to read.
    #[serde(default)]
    pub ip: Option<String>,
    /// Its group.
    #[serde(default)]
    pub group: Option<String>,
}

/// Whether a server has been heard of lately.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Presence {
    /// Its last heartbeat is younger than three intervals.
    Online,
    /// It is not.
    Offline,
}

/// A managed host.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Server {
    /// The server's name.
    pub hostname: String,
    /// Its address, for people to read.
    pub ip: Option<String>,
    /// Its group.
    pub group: Option<String>,
    /// Whether it has been heard of lately, computed when read.
    pub status: Presence,
    /// When the last heartbeat was received.
    pub last_heartbeat: Option<Time>,
    /// Processor use at the last heartbeat, in percent of all cores.
    pub cpu_usage: Option<f64>,
    /// Memory use at the last heartbeat, in percent.
    pub memory_usage: Option<f64>,
    /// The agent's version at the last heartbeat.
    pub agent_version: Option<String>,
    /// What a person should look at there, a sentence each; mostly nothing.
    #[serde(default)]
    pub warnings: Vec<String>,
}
