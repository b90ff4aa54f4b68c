//! Dead letters: messages that could not be handled, as an operator reads them.

use serde::{Deserialize, Serialize};

use crate::clock::Time;

/// A message that could not be handled.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Its id: a digest of where it was given up, why, and what it says. So the same message again is
    /// the same letter.
    pub id: String,
    /// Why it was given up, in one word; see `docs/operations.md`.
    pub reason: String,
    /// The rest of the reason, where there is more to say.
    pub detail: Option<String>,
    /// The queue it was given up in, and to which a replay brings it back.
    pub queue: String,
    /// What it claims to be: `command`, `cancel`, `event`, `result`, `heartbeat`.
    pub kind: Option<String>,
    /// The server it is about. Unless it is verified, that is a mere claim.
    pub hostname: Option<String>,
    /// The task it is about; likewise.
    pub task_id: Option<String>,
    /// Whether a key that counted when it was put here had signed it, and belongs to whom it claims to
    /// come from.
    pub verified: bool,
    /// Its size, in bytes.
    pub size: i64,
    /// How many of its bytes were kept. Only a whole message can be replayed.
    pub kept: i64,
    /// How often it came, at least.
    pub times: i64,
    /// When it came first.
    pub first_at: Time,
    /// When it came last.
    pub last_at: Time,
    /// When somebody asked to replay it, which has not been done yet.
    pub replay_requested_at: Option<Time>,
    /// The trace it belongs to.
    pub trace_id: Option<String>,
}

impl DeadLetter {
    /// Whether all of it was kept.
    pub const fn is_whole(&self) -> bool {
        self.kept == self.size
    }
}

/// The answer to `GET /api/dead/{letter_id}`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OpenedLetter {
    /// The letter.
    #[serde(flatten)]
    pub letter: DeadLetter,
    /// The signed text inside it, if it has the form of an envelope. Nobody vouches for it.
    pub payload: Option<String>,
    /// The message itself in base64, up to a limit.
    pub body_base64: String,
    /// Whether `payload` or `body_base64` was shortened.
    pub truncated: bool,
}
