//! Commands as they are asked for, and tasks, invocations and results as they are shown.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::key::{Algorithm, PlaneKey};
use crate::clock::Time;
use crate::rules::invocation::{Ending, Status as InvocationStatus};
use crate::rules::rollout::Limit;
use crate::rules::task::Status;

/// What a command is aimed at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TargetType {
    /// One server, by hostname.
    Node,
    /// Every server of a group.
    Group,
    /// Every server.
    All,
}

impl TargetType {
    /// The word on the wire and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Group => "group",
            Self::All => "all",
        }
    }

    /// Reads the word; `None` for any other text.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Node, Self::Group, Self::All].into_iter().find(|kind| kind.as_str() == text)
    }
}

/// Body of `POST /api/commands`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NewCommand {
    /// What it is aimed at.
    pub target_type: TargetType,
    /// Which server or group.
    #[serde(default)]
    pub target: Option<String>,
    /// Text for `/bin/sh -c`.
    pub command: String,
    /// How long it may run, in seconds; 30 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<i64>,
    /// The account to run as; the agent's own when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// How long it may wait for its server, in seconds; 3,600 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<i64>,
    /// How many servers have it at a time; all of them when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_concurrency: Option<Limit>,
    /// How many may not succeed before the rest is spared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_errors: Option<Limit>,
    /// How long servers may go on being started, in seconds; what the roll-out can need when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout_expires_in: Option<i64>,
}

/// One command sent to a target.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Task {
    /// Its id.
    pub task_id: String,
    /// What it was aimed at.
    pub target_type: TargetType,
    /// Which server or group.
    pub target: Option<String>,
    /// The command.
    pub command: String,
    /// How long it may run, in seconds.
    pub timeout: i64,
    /// The account it runs as; the agent's own when absent.
    pub user: Option<String>,
    /// Where it stands.
    pub status: Status,
    /// When it was accepted.
    pub created_at: Time,
    /// Nothing starts after this.
    pub expires_at: Time,
    /// By then every server's state is decided.
    pub deadline: Time,
    /// Nothing about it can change any more.
    #[serde(rename = "final")]
    pub is_final: bool,
    /// How many servers it was meant for when it was made.
    pub targets: i64,
    /// How many of them stand in which state.
    pub counts: BTreeMap<String, i64>,
    /// When somebody asked to cancel it.
    pub cancel_requested_at: Option<Time>,
    /// The trace that leads through it.
    pub trace_id: String,
    /// How many servers have it at a time; all of them when absent.
    #[serde(default)]
    pub max_concurrency: Option<Limit>,
    /// How many may not succeed before the rest is spared.
    #[serde(default)]
    pub max_errors: Option<Limit>,
    /// The task whose servers it tries again.
    #[serde(default)]
    pub retry_of: Option<String>,
}

impl Task {
    /// Every server's outcome is known or guessed.
    pub fn is_decided(&self) -> bool {
        let is_open = |name: &String| InvocationStatus::parse(name).is_some_and(InvocationStatus::is_open);
        !self.counts.keys().any(is_open)
    }
}

/// One task on one server.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Invocation {
    /// The task.
    pub task_id: String,
    /// The server.
    pub hostname: String,
    /// Where it stands.
    pub status: InvocationStatus,
    /// Why, where the status alone does not say.
    pub reason: Option<String>,
    /// The result's exit code, once there is one.
    pub exit_code: Option<i32>,
    /// The wave in which it goes out, from 1 on; none while it is held back, and if it never went.
    #[serde(default)]
    pub wave: Option<i64>,
    /// By then its state is decided.
    pub deadline: Time,
    /// How often sending it was tried in vain.
    pub attempts: i64,
    /// When it was stored.
    pub queued_at: Time,
    /// When the broker confirmed it.
    pub sent_at: Option<Time>,
    /// When the report that the agent has it was received.
    pub accepted_at: Option<Time>,
    /// When the report that it runs was received.
    pub running_at: Option<Time>,
    /// What the plane had to guess before it knew.
    pub provisional_status: Option<InvocationStatus>,
    /// When it had to guess.
    pub provisional_at: Option<Time>,
    /// When its end was stored.
    pub finished_at: Option<Time>,
}

/// What one server's agent signed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TaskResult {
    /// The task.
    pub task_id: String,
    /// The process's own exit code, or one that stands for how it ended.
    pub exit_code: i32,
    /// What it wrote, perhaps shortened.
    pub stdout: String,
    /// What it wrote to standard error, perhaps shortened.
    pub stderr: String,
    /// When it ended, by the server's clock.
    pub timestamp: Time,
    /// The server.
    pub hostname: String,
    /// How it ended.
    pub status: Ending,
    /// Why, where the status alone does not say.
    pub reason: Option<String>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Whether either text was shortened.
    pub truncated: bool,
    /// How many bytes it wrote.
    pub stdout_bytes: u64,
    /// How many bytes it wrote to standard error.
    pub stderr_bytes: u64,
    /// When it started, by the server's clock.
    pub started_at: Option<Time>,
    /// When the plane stored it.
    pub received_at: Time,
    /// What it wrote was removed since, as the plane was told to: the texts are empty, and `signal`,
    /// `started_at` and the numbers of bytes are not known any more.
    #[serde(default)]
    pub output_removed: bool,
}

/// A result that contradicts the one that is stored for its server.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ResultConflict {
    /// What it says.
    #[serde(flatten)]
    pub result: TaskResult,
    /// SHA-256 of the signed bytes, in hexadecimal.
    pub digest: String,
    /// The key that signed it.
    pub keyid: String,
}

/// Everything that an auditor needs to check a task again, offline:
/// `GET /api/tasks/{task_id}/evidence`.
#[derive(Debug, Deserialize, Serialize)]
pub struct Evidence {
    /// The task.
    pub task_id: String,
    /// What the plane signed, a command a wave.
    pub commands: Vec<CommandEvidence>,
    /// What each server signed.
    pub results: Vec<ResultEvidence>,
}

/// An [`Evidence`] as it is written: its results follow in a stream.
#[derive(Debug, Serialize)]
pub struct EvidenceHead {
    /// The task.
    pub task_id: String,
    /// What the plane signed, a command a wave.
    pub commands: Vec<CommandEvidence>,
}

/// One wave's signed command with the key that checks it.
#[derive(Debug, Serialize, Deserialize)]
pub struct CommandEvidence {
    /// The wave.
    pub wave: i64,
    /// The key that signed the command.
    pub signing_key: PlaneKey,
    /// The signed command, byte for byte.
    pub command: Box<RawValue>,
}

/// One server's signed result with the key that checks it.
#[derive(Debug, Serialize, Deserialize)]
pub struct ResultEvidence {
    /// The server.
    pub hostname: String,
    /// The wave whose command it answers.
    pub wave: i64,
    /// The key's id.
    pub keyid: String,
    /// How the key signs.
    pub algorithm: Algorithm,
    /// The key, whatever has become of it since.
    pub public_key_pem: String,
    /// That the server was among the signed targets.
    pub proof: super::envelope::Proof,
    /// SHA-256 of the signed payload.
    #[serde(default)]
    pub digest: Option<String>,
    /// The signed result, byte for byte; `null` once it was removed with the output that it holds.
    pub envelope: Option<Box<RawValue>>,
}

/// `GET /api/health`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Health {
    /// `ok` or `unavailable`.
    pub status: String,
    /// What is down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// The body of every error.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Problem {
    /// One sentence that says what happened and what to do.
    pub detail: String,
}
