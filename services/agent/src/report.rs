//! What the agent says, signed: progress, and how a command ended.
//!
//! A result always has an exit code. Where the process has none, one stands for how it ended, by the
//! conventions of `timeout(1)` and the shell: 124 ran too long, 125 interrupted or cancelled before
//! it started, 126 or 127 could not start, 126 rejected, 128 + n ended by signal n.

use std::time::Duration;

use shared::clock::Time;
use shared::contract::signed::{EventReport, Kind, Progress, ResultReport};
use shared::error::{Error, Result, chain};
use shared::rules::invocation::Ending;
use shared::rules::limits::ENVELOPE_BYTES_MAX;
use shared::sign::Envelope;

use crate::Agent;
use crate::exec::{Captured, End as Exit, Outcome, StartError};
use crate::journal::JobId;
use crate::state::Waiting;

/// What lasts longer than this is reported while it lasts; what is shorter reports its end only, so
/// that the common case costs one message.
const LASTING: Duration = Duration::from_millis(250);
/// How long to wait before progress is reported again that the broker did not take.
const ANNOUNCE_PAUSE: Duration = Duration::from_secs(5);
/// A payload of this size, in base64 and with its signature, is an envelope of less than the limit.
const PAYLOAD_BYTES_MAX: usize = (ENVELOPE_BYTES_MAX - 4 * 1024) / 4 * 3;
/// Exit code of what ran longer than allowed.
const TIMED_OUT: i32 = 124;
/// Exit code of what was interrupted, or cancelled before it started.
const INTERRUPTED: i32 = 125;
/// Exit code of what was rejected.
const REJECTED: i32 = 126;
/// Exit code of what a signal ended, less the signal.
const SIGNALLED: i32 = 128;
/// The signal by which a cancelled command is first asked to end.
const SIGTERM: i32 = 15;

/// How a command ended.
#[derive(Debug)]
pub struct End {
    pub status: Ending,
    pub reason: Option<String>,
    exit_code: i32,
    signal: Option<i32>,
    stdout: Captured,
    stderr: Captured,
    started_at: Option<Time>,
    finished_at: Option<Time>,
}

impl End {
    fn without_run(status: Ending, exit_code: i32, reason: Option<String>) -> Self {
        let (stdout, stderr) = (Captured::default(), Captured::default());
        Self { status, reason, exit_code, signal: None, stdout, stderr, started_at: None, finished_at: None }
    }

    /// It may not run, for this reason.
    pub fn rejected(reason: String) -> Self {
        Self::without_run(Ending::Rejected, REJECTED, Some(reason))
    }

    /// A cancel came before it started.
    pub fn cancelled_before() -> Self {
        Self::without_run(Ending::Cancelled, INTERRUPTED, Some("cancelled before it started".to_owned()))
    }

    /// The agent stopped while it ran.
    pub fn interrupted(reason: String) -> Self {
        Self::without_run(Ending::Interrupted, INTERRUPTED, Some(reason))
    }

    /// It could not start.
    pub fn not_started(error: &StartError, at: Time) -> Self {
        let end = Self::without_run(Ending::Failed, error.exit_code(), Some(error.to_string()));
        Self { started_at: Some(at), ..end }
    }

    /// It ran.
    pub fn of(outcome: Outcome, started_at: Time, finished_at: Time) -> Self {
        let (status, exit_code, signal) = match outcome.end {
            Exit::Exited(0) => (Ending::Succeeded, 0, None),
            Exit::Exited(code) => (Ending::Failed, code, None),
            Exit::Signalled(signal) => (Ending::Failed, SIGNALLED + signal, Some(signal)),
            Exit::TimedOut => (Ending::TimedOut, TIMED_OUT, None),
            Exit::Cancelled => (Ending::Cancelled, SIGNALLED + SIGTERM, Some(SIGTERM)),
            Exit::Unknown => (Ending::Interrupted, INTERRUPTED, None),
        };
        let ended = match outcome.end {
            Exit::TimedOut => Some("it ran longer than allowed"),
            Exit::Cancelled => Some("cancelled while it ran"),
            _ => None,
        };
        let reason = match (ended, outcome.leaked) {
            (ended, true) => {
                Some(format!("{}; some of its processes could not be killed", ended.unwrap_or("it ended")))
            }
            (Some(ended), false) => Some(format!("{ended}, and was ended with all its processes")),
            (None, false) => None,
        };
        Self {
            status,
            reason,
            exit_code,
            signal,
            stdout: outcome.stdout,
            stderr: outcome.stderr,
            started_at: Some(started_at),
            finished_at: Some(finished_at),
        }
    }
}

impl Agent {
    /// The result of a command, to be signed when it is handed in.
    pub(crate) fn result(&self, (task_id, digest): JobId<'_>, end: End) -> Result<String> {
        let finished_at = end.finished_at.unwrap_or_else(|| self.0.clock.now());
        let report = ResultReport {
            iss: self.0.hostname.clone(),
            task_id: task_id.to_owned(),
            command_digest: digest.to_owned(),
            status: end.status,
            reason: end.reason,
            exit_code: end.exit_code,
            signal: end.signal,
            truncated: end.stdout.truncated || end.stderr.truncated,
            stdout: end.stdout.text,
            stderr: end.stderr.text,
            stdout_bytes: end.stdout.bytes,
            stderr_bytes: end.stderr.bytes,
            started_at: end.started_at.map(|at| at.0),
            finished_at,
            boot_id: self.0.boot.id(),
        };
        fitting(report)
    }

    /// Signs here and now: under a millisecond, and changing threads would take longer than it saves.
    pub(crate) fn sign(&self, kind: Kind, payload: Vec<u8>) -> Result<String> {
        Ok(Envelope::sign(kind, payload, &self.0.key)?.to_json())
    }

    /// Reports how far a command has come once that has lasted a while, and until the broker has it.
    /// Not spooled: the command's end, which is, will say more.
    pub(crate) async fn announce_when_lasting(&self, id: JobId<'_>, kind: Progress, trace: Option<&str>) {
        self.0.clock.sleep(LASTING).await;
        while let Err(error) = self.announce(id, kind, trace).await {
            tracing::info!(task_id = id.0, cause = chain(&error), "progress could not be reported; trying again");
            self.0.clock.sleep(ANNOUNCE_PAUSE).await;
        }
    }

    async fn announce(&self, (task_id, digest): JobId<'_>, kind: Progress, trace: Option<&str>) -> Result<()> {
        let event = EventReport {
            iss: self.0.hostname.clone(),
            task_id: task_id.to_owned(),
            command_digest: digest.to_owned(),
            kind,
            at: self.0.clock.now(),
            boot_id: self.0.boot.id(),
            seq: self.0.state.count(),
        };
        let payload = serde_json::to_vec(&event).map_err(Error::internal)?;
        self.publish(Kind::Event, self.sign(Kind::Event, payload)?, trace, None).await
    }

    /// Reports that a command waits, for as long as it does.
    pub(crate) fn announce_later(&self, waiting: &Waiting) {
        let (agent, waiting) = (self.clone(), waiting.clone());
        tokio::spawn(async move {
            let id = (waiting.command.body().task_id.as_str(), waiting.command.digest());
            agent.0.clock.sleep(LASTING).await;
            // Best effort, and once: it will start, and say so.
            if agent.0.state.is_waiting(id.0)
                && let Err(error) = agent.announce(id, Progress::Accepted, waiting.traceparent.as_deref()).await
            {
                tracing::info!(task_id = id.0, cause = chain(&error), "progress could not be reported");
            }
        });
    }
}

/// The report as JSON, its output shortened until its envelope is within the limit: in JSON a byte
/// may take six.
fn fitting(mut report: ResultReport) -> Result<String> {
    loop {
        let payload = serde_json::to_string(&report).map_err(Error::internal)?;
        if payload.len() <= PAYLOAD_BYTES_MAX {
            return Ok(payload);
        }
        report.truncated = true;
        report.stdout = halved(&report.stdout);
        report.stderr = halved(&report.stderr);
    }
}

/// The first and the last quarter of a text.
fn halved(text: &str) -> String {
    let head = text.floor_char_boundary(text.len() / 4);
    let tail = text.ceil_char_boundary(text.len() - text.len() / 4);
    format!("{}\n[muster: {} bytes left out]\n{}", &text[..head], tail - head, &text[tail..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_command_writes_its_envelope_fits() {
        for text in ["\0".repeat(256 * 1024), "ü\u{fffd}".repeat(200_000), "x".repeat(700_000)] {
            let report = ResultReport {
                iss: "h".into(),
                task_id: "t".into(),
                command_digest: "d".into(),
                status: Ending::Succeeded,
                reason: None,
                exit_code: 0,
                signal: None,
                stdout: text.clone(),
                stderr: text.clone(),
                stdout_bytes: text.len() as u64,
                stderr_bytes: text.len() as u64,
                truncated: false,
                started_at: None,
                finished_at: Time(0),
                boot_id: "b".into(),
            };
            let payload = fitting(report).unwrap();
            assert!(payload.len() <= PAYLOAD_BYTES_MAX && payload.len() > PAYLOAD_BYTES_MAX / 8);
            let report: ResultReport = serde_json::from_str(&payload).unwrap();
            assert!(report.truncated && report.stdout_bytes == text.len() as u64);
        }
    }
}
