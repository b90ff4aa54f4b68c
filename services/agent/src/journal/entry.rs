//! The rows of the journal: a job and where it stands.

use shared::bus::Delivery;
use shared::clock::Time;
use shared::db::Lite;
use shared::error::{Error, Result};
use shared::rules::limits::CLOCK_SKEW_MAX;
use sqlx::{QueryBuilder, Sqlite};

use super::JobId;
use crate::exec::Mark;

/// Where a journalled job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// To be started.
    Accepted,
    /// Started, or about to be; never to be started again.
    Starting,
    /// It has a result.
    Finished,
}

impl Phase {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Starting => "starting",
            Self::Finished => "finished",
        }
    }

    fn parse(text: &str) -> Result<Self> {
        let known = [Self::Accepted, Self::Starting, Self::Finished].into_iter().find(|phase| phase.as_str() == text);
        known.ok_or_else(|| Error::internal(format!("the journal holds the unknown phase `{text}`")))
    }
}

/// A job as it is written.
#[derive(Clone, Debug)]
pub struct Entry {
    task_id: String,
    digest: String,
    phase: Phase,
    message: Option<Vec<u8>>,
    traceparent: Option<String>,
    result: Option<String>,
    issued_at: Time,
    not_before: Time,
    at: Time,
}

impl Entry {
    /// A job that arrived just now.
    pub fn arrived(id: JobId<'_>, phase: Phase, delivery: &Delivery, at: Time) -> Self {
        let message = Some(delivery.body.clone());
        Self { phase, message, result: None, ..Self::of(id, delivery.traceparent.as_deref(), at) }
    }

    /// Says of a job that is new when its command was signed. The plane's clock may be ahead, and so may
    /// the host's; what both have passed has come.
    #[must_use]
    pub fn issued(self, issued_at: Time) -> Self {
        Self { issued_at, not_before: issued_at.min(self.at.plus(CLOCK_SKEW_MAX)), ..self }
    }

    /// A job that is over, with its result. Its command is not needed any more.
    pub fn finished(id: JobId<'_>, result: String, traceparent: Option<&str>, at: Time) -> Self {
        Self { result: Some(result), ..Self::of(id, traceparent, at) }
    }

    fn of((task_id, digest): JobId<'_>, traceparent: Option<&str>, at: Time) -> Self {
        let (task_id, digest, traceparent) = (task_id.to_owned(), digest.to_owned(), traceparent.map(str::to_owned));
        let (issued_at, not_before) = (Time(0), Time(0));
        let (phase, message, result) = (Phase::Finished, None, None);
        Self { task_id, digest, phase, message, traceparent, result, issued_at, not_before, at }
    }

    /// Whether it is about this task.
    pub fn is_of(&self, task_id: &str) -> bool {
        self.task_id == task_id
    }

    /// It is at least so late.
    pub const fn not_before(&self) -> Time {
        self.not_before
    }

    /// The task and the bytes of its result, if it has one.
    pub fn spooled(&self) -> Option<(String, usize)> {
        self.result.as_ref().map(|result| (self.task_id.clone(), result.len()))
    }
}

/// One statement that writes the entries, over what was there. When a command was signed stays.
pub fn upsert(query: &mut QueryBuilder<Sqlite>, entries: &[Entry]) {
    query.push("insert into jobs (task_id, digest, phase, message, traceparent, result, issued_at, not_before, at) ");
    query.push_values(entries, |mut row, entry| {
        row.push_bind(entry.task_id.clone())
            .push_bind(entry.digest.clone())
            .push_bind(entry.phase.as_str())
            .push_bind(entry.message.clone())
            .push_bind(entry.traceparent.clone())
            .push_bind(entry.result.clone())
            .push_bind(entry.issued_at.0)
            .push_bind(entry.not_before.0)
            .push_bind(entry.at.0);
    });
    query.push(
        " on conflict (task_id) do update set phase = excluded.phase, message = excluded.message, mark = null,
          result = excluded.result, at = excluded.at",
    );
}

/// A job whose end the agent's last run did not see.
#[derive(Debug)]
pub struct Unfinished {
    /// The task.
    pub task_id: String,
    /// SHA-256 of the command's payload.
    pub digest: String,
    /// How far it had come.
    pub phase: Phase,
    /// The command as it arrived, to be verified again.
    pub message: Vec<u8>,
    /// The trace it belongs to.
    pub traceparent: Option<String>,
    /// Where its process was.
    pub mark: Option<Mark>,
}

type Row = (String, String, String, Option<Vec<u8>>, Option<String>, Option<String>);

/// The jobs without an end, in the order in which they came.
pub async fn unfinished(lite: &Lite) -> Result<Vec<Unfinished>> {
    let query = "select task_id, digest, phase, message, traceparent, mark from jobs where phase <> 'finished' order by at, task_id";
    let rows: Vec<Row> = sqlx::query_as(query).fetch_all(lite.reader().await?.connection()?).await?;
    let unfinished = |(task_id, digest, phase, message, traceparent, mark): Row| {
        Ok(Unfinished {
            task_id,
            digest,
            phase: Phase::parse(&phase)?,
            message: message.unwrap_or_default(),
            traceparent,
            // A mark that cannot be read is none: leftovers are then found by their environment.
            mark: mark.and_then(|json| serde_json::from_str(&json).ok()),
        })
    };
    rows.into_iter().map(unfinished).collect()
}
