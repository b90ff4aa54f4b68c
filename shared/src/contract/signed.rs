//! What is inside an envelope. Commands and cancels refuse unknown fields, because a restriction
//! that is ignored is a hole; reports ignore them, because a newer agent may say more.

use serde::{Deserialize, Deserializer, Serialize, de};

use super::object::object;
use crate::clock::{Time, unix_ms};
use crate::rules::invocation::Ending;

/// The `iss` of whatever the plane signs.
pub const PLANE: &str = "muster";

/// The kinds of envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// To agents: run this.
    Command,
    /// To agents: stop that.
    Cancel,
    /// From agents: a command was accepted, or runs.
    Event,
    /// From agents: what came of a command.
    Result,
    /// From agents: I am alive.
    Heartbeat,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 5] = [Self::Command, Self::Cancel, Self::Event, Self::Result, Self::Heartbeat];

    /// The signed media type.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Command => "application/vnd.muster.command.v1+json",
            Self::Cancel => "application/vnd.muster.cancel.v1+json",
            Self::Event => "application/vnd.muster.event.v1+json",
            Self::Result => "application/vnd.muster.result.v1+json",
            Self::Heartbeat => "application/vnd.muster.heartbeat.v1+json",
        }
    }

    /// The kind in one word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::Cancel => "cancel",
            Self::Event => "event",
            Self::Result => "result",
            Self::Heartbeat => "heartbeat",
        }
    }

    /// Reads a media type; `None` for a foreign one.
    pub fn parse(media_type: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.media_type() == media_type)
    }
}

/// The exact set of servers that a command is meant for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Targets {
    /// How many there are: the size of the Merkle tree.
    pub count: u64,
    /// The tree's root over the sorted hostnames, in hexadecimal.
    pub root: String,
}

/// Run this.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Command {
    /// Who signed: [`PLANE`].
    pub iss: String,
    /// Which task it is.
    pub task_id: String,
    /// Text for `/bin/sh -c`.
    pub command: String,
    /// The account to run as; the agent's own when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// How long it may run, in seconds.
    pub timeout: u32,
    /// When it was signed.
    #[serde(with = "unix_ms")]
    pub issued_at: Time,
    /// Nothing starts after this.
    #[serde(with = "unix_ms")]
    pub expires_at: Time,
    /// For whom it is.
    #[serde(deserialize_with = "object")]
    pub targets: Targets,
    /// Who asked for it.
    pub requested_by: String,
}

/// Stop that.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cancel {
    /// Who signed: [`PLANE`].
    pub iss: String,
    /// Which task to stop.
    pub task_id: String,
    /// SHA-256 of the command's payload, in hexadecimal.
    pub command_digest: String,
    /// When it was signed.
    #[serde(with = "unix_ms")]
    pub issued_at: Time,
    /// It means nothing after this.
    #[serde(with = "unix_ms")]
    pub expires_at: Time,
    /// The command's targets, so that the command's proof serves here too.
    #[serde(deserialize_with = "object")]
    pub targets: Targets,
}

/// How far a command has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Progress {
    /// The agent has it and has not started it.
    Accepted,
    /// It runs.
    Running,
}

/// A command was accepted, or runs. Sent only when that lasts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EventReport {
    /// The reporting host.
    pub iss: String,
    /// Which task it is.
    pub task_id: String,
    /// SHA-256 of the command's payload, in hexadecimal.
    pub command_digest: String,
    /// How far it has come.
    pub kind: Progress,
    /// When, by the host's clock.
    #[serde(with = "unix_ms")]
    pub at: Time,
    /// This run of the agent.
    pub boot_id: String,
    /// Grows with each event of this run.
    pub seq: u64,
}

/// What came of a command.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ResultReport {
    /// The reporting host.
    pub iss: String,
    /// Which task it is.
    pub task_id: String,
    /// SHA-256 of the command's payload, in hexadecimal.
    pub command_digest: String,
    /// How it ended.
    pub status: Ending,
    /// Why, where the status alone does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The process's own, or one that stands for how it ended; never absent.
    pub exit_code: i32,
    /// The signal that ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// What it wrote, perhaps shortened.
    pub stdout: String,
    /// What it wrote to standard error, perhaps shortened.
    pub stderr: String,
    /// How many bytes it wrote.
    pub stdout_bytes: u64,
    /// How many bytes it wrote to standard error.
    pub stderr_bytes: u64,
    /// Whether either text was shortened.
    pub truncated: bool,
    /// When it started, by the host's clock; absent when it never did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<i64>,
    /// When it ended, by the host's clock.
    #[serde(with = "unix_ms")]
    pub finished_at: Time,
    /// This run of the agent.
    pub boot_id: String,
}

/// I am alive.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Heartbeat {
    /// The reporting host.
    pub iss: String,
    /// This run of the agent; a later run has a greater one.
    #[serde(deserialize_with = "short")]
    pub boot_id: String,
    /// The run before, as far as the agent's journal knows. That the plane knows a later one shows a
    /// copy of the journal that went on by itself, or one that was put back.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "short_or_none")]
    pub previous_boot_id: Option<String>,
    /// Grows with each heartbeat of this run.
    pub counter: u64,
    /// When it was sent, by the host's clock.
    #[serde(with = "unix_ms")]
    pub sent_at: Time,
    /// Processor use since the heartbeat before, in percent of all cores.
    pub cpu_usage: f64,
    /// Memory use, in percent.
    pub memory_usage: f64,
    /// The agent's version.
    #[serde(deserialize_with = "short")]
    pub agent_version: String,
    /// Commands that run.
    pub running: u32,
    /// Reports that wait for the broker.
    pub spooled: u32,
    /// Why commands do not run there as they should, in one sentence; shortened when it is long.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "sentence")]
    pub trouble: Option<String>,
}

/// The longest sentence of an agent about itself that is kept, in characters.
const SENTENCE_CHARS_MAX: usize = 255;

fn sentence<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    Ok(text.map(|text| text.chars().take(SENTENCE_CHARS_MAX).collect()))
}

fn short_or_none<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    if text.as_ref().is_some_and(|text| text.len() > SHORT_BYTES_MAX) {
        return Err(de::Error::custom(format_args!("longer than {SHORT_BYTES_MAX} bytes")));
    }
    Ok(text)
}

/// The longest name of a run or a version, in bytes: it is stored, and shown in lists.
const SHORT_BYTES_MAX: usize = 64;

fn short<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.len() > SHORT_BYTES_MAX {
        return Err(de::Error::custom(format_args!("longer than {SHORT_BYTES_MAX} bytes")));
    }
    Ok(text)
}

/// What every payload has: a kind, and who claims to speak.
pub trait Payload: de::DeserializeOwned {
    /// The kind of envelope it travels in.
    const KIND: Kind;
    /// Who claims to speak.
    fn iss(&self) -> &str;
}

macro_rules! payload {
    ($($body:ident => $kind:ident),* $(,)?) => {$(
        impl Payload for $body {
            const KIND: Kind = Kind::$kind;
            fn iss(&self) -> &str {
                &self.iss
            }
        }
    )*};
}

payload! {
    Command => Command,
    Cancel => Cancel,
    EventReport => Event,
    ResultReport => Result,
    Heartbeat => Heartbeat,
}
