//! Tasks, with their counts by state. A count is changed only by `shift`, together with the
//! invocations that it counts and in the same transaction.

use std::collections::BTreeSet;
use std::time::Duration;

use sqlx::QueryBuilder;

use crate::clock::Time;
use crate::contract::task::{TargetType, Task};
use crate::db::{Db, Tx, row};
use crate::error::{Error, Result};
use crate::rules::invocation::{Status, Times};
use crate::rules::task::Counts;
use crate::{later, on, read};

/// A task to be written.
#[derive(Clone, Debug)]
pub struct NewTask<'a> {
    /// Its id.
    pub task_id: &'a str,
    /// What it is aimed at.
    pub target_type: TargetType,
    /// Which server or group.
    pub target: Option<&'a str>,
    /// The command.
    pub command: &'a str,
    /// How long it may run, in seconds.
    pub timeout: i64,
    /// The account it runs as.
    pub user: Option<&'a str>,
    /// When it is made.
    pub created_at: Time,
    /// Nothing starts after this.
    pub expires_at: Time,
    /// Who asked for it.
    pub requested_by: &'a str,
    /// The trace that leads through it.
    pub trace_id: &'a str,
    /// The span that made it.
    pub traceparent: &'a str,
    /// The signed command.
    pub envelope: &'a str,
    /// SHA-256 of its payload.
    pub command_digest: &'a str,
    /// The key that signed it.
    pub keyid: &'a str,
    /// The caller's key, and the digest of what it asked under that key.
    pub idempotency: Option<(&'a str, &'a str)>,
    /// How many servers it is for.
    pub targets: i64,
}

row! {
    #[derive(Debug)]
    struct Row {
        task_id: String,
        target: Option<String>,
        command: String,
        user: Option<String>,
        rest: String,
    }
}

/// Everything but free text in one column: what a list costs is mostly its columns.
macro_rules! columns {
    () => {
        "task_id, target, command, `user`,
         concat_ws(',', target_type, timeout, created_at, expires_at, coalesce(cancel_requested_at, ''), trace_id,
                   queued, sent, accepted, running, expired, lost, undeliverable, succeeded, failed, timed_out,
                   cancelled, rejected, interrupted, skipped)"
    };
}

impl Row {
    fn task(self) -> Result<Task> {
        let rest =
            Rest::read(&self.rest).ok_or_else(|| super::inconsistent("tasks", "target_type … skipped", &self.rest))?;
        let expires_at = Time(rest.expires_at);
        let times = Times { expires_at, timeout: secs(rest.timeout) };
        Ok(Task {
            target_type: rest.target_type,
            task_id: self.task_id,
            target: self.target,
            command: self.command,
            timeout: rest.timeout,
            user: self.user,
            status: rest.counts.status(),
            created_at: Time(rest.created_at),
            expires_at,
            deadline: times.deadline(),
            is_final: rest.counts.is_final(),
            targets: rest.counts.targets(),
            counts: rest.counts.by_name(),
            cancel_requested_at: rest.cancel_requested_at.map(Time),
            trace_id: rest.trace_id.to_owned(),
        })
    }
}

/// The last column, taken apart.
struct Rest<'a> {
    target_type: TargetType,
    timeout: i64,
    created_at: i64,
    expires_at: i64,
    cancel_requested_at: Option<i64>,
    trace_id: &'a str,
    counts: Counts,
}

impl<'a> Rest<'a> {
    fn read(text: &'a str) -> Option<Self> {
        let mut parts = text.split(',');
        let mut next = || parts.next();
        let mut rest = Self {
            target_type: TargetType::parse(next()?)?,
            timeout: next()?.parse().ok()?,
            created_at: next()?.parse().ok()?,
            expires_at: next()?.parse().ok()?,
            cancel_requested_at: Some(next()?).filter(|text| !text.is_empty()).map(str::parse).transpose().ok()?,
            trace_id: next()?,
            counts: Counts::default(),
        };
        for count in &mut rest.counts.0 {
            *count = next()?.parse().ok()?;
        }
        Some(rest)
    }
}

fn secs(timeout: i64) -> Duration {
    Duration::from_secs(u64::try_from(timeout).unwrap_or(0))
}

/// Adds a task whose invocations are all queued; a conflict when its idempotency key is in use.
pub async fn insert(tx: &mut Tx, task: &NewTask<'_>) -> Result<()> {
    let conflict = || Error::conflict("a task with this `Idempotency-Key` is being made; ask again");
    let added = later!(&mut *tx, query => {
        query.push(
            "insert into tasks (task_id, target_type, target, command, timeout, `user`, created_at, expires_at, requested_by,
                trace_id, traceparent, envelope, command_digest, keyid, idempotency_key, idempotency_digest, queued) ");
        query.push_values([task], |mut row, task| {
            row.push_bind(task.task_id).push_bind(task.target_type.as_str()).push_bind(task.target)
                .push_bind(task.command).push_bind(task.timeout).push_bind(task.user).push_bind(task.created_at.0)
                .push_bind(task.expires_at.0).push_bind(task.requested_by).push_bind(task.trace_id)
                .push_bind(task.traceparent).push_bind(task.envelope).push_bind(task.command_digest)
                .push_bind(task.keyid).push_bind(task.idempotency.map(|(key, _)| key))
                .push_bind(task.idempotency.map(|(_, digest)| digest)).push_bind(task.targets);
        });
    });
    super::on_unique(added, conflict)?;
    if task.idempotency.is_none() {
        return Ok(()); // no other task can be in its way
    }
    super::on_unique(on!(tx, _c => Ok(())), conflict) // it may have been put off
}

/// One task.
pub async fn find(db: &Db, task_id: &str) -> Result<Option<Task>> {
    let row: Option<Row> = read!(db, c => sqlx::query_as(concat!("select ", columns!(), " from tasks where task_id = ?"))
        .bind(task_id).fetch_optional(c).await)?;
    row.map(Row::task).transpose()
}

/// Tasks from the newest on, those before `before`.
pub async fn page(db: &Db, before: &str, limit: usize) -> Result<Vec<Task>> {
    let rows: Vec<Row> = read!(db, c => sqlx::query_as(
        concat!("select ", columns!(), " from tasks where task_id < ? order by task_id desc limit ?"))
        .bind(before).bind(limit as i64).fetch_all(c).await)?;
    rows.into_iter().map(Row::task).collect()
}

/// The task that was made under an idempotency key, and the digest of what was asked then.
pub async fn by_idempotency_key(db: &Db, key: &str) -> Result<Option<(String, String)>> {
    Ok(read!(db, c => sqlx::query_as("select task_id, idempotency_digest from tasks where idempotency_key = ?")
        .bind(key).fetch_optional(c).await)?)
}

/// What never changes about a task, as far as the pipeline needs it.
#[derive(Clone, Debug)]
pub struct Facts {
    command_digest: String,
    times: Times,
}

impl Facts {
    pub(super) fn new(command_digest: String, timeout: i64, expires_at: i64) -> Self {
        Self { command_digest, times: Times { expires_at: Time(expires_at), timeout: secs(timeout) } }
    }

    /// SHA-256 of the command's payload.
    pub fn command_digest(&self) -> &str {
        &self.command_digest
    }

    /// The times that deadlines follow from.
    pub const fn times(&self) -> Times {
        self.times
    }
}

/// The command digest of a task, if there is such a task.
pub async fn command_digest(tx: &mut Tx, task_id: &str) -> Result<Option<String>> {
    let digest: Option<(String,)> = on!(tx, c => sqlx::query_as("select command_digest from tasks where task_id = ?")
        .bind(task_id).fetch_optional(c).await)?;
    Ok(digest.map(|(digest,)| digest))
}

row! {
    /// A task's signed messages.
    #[derive(Clone, Debug)]
    pub struct Signed {
        /// The task.
        pub task_id: String,
        /// The signed command.
        pub envelope: String,
        /// SHA-256 of its payload.
        pub command_digest: String,
        /// The key that signed it.
        pub keyid: String,
        /// The signed cancel, if somebody asked for one.
        pub cancel_envelope: Option<String>,
        /// The span that made the task.
        pub traceparent: String,
    }
}

/// The signed messages of those of the tasks that exist.
pub async fn signed(db: &Db, task_ids: BTreeSet<&str>) -> Result<Vec<Signed>> {
    if task_ids.is_empty() {
        return Ok(Vec::new());
    }
    Ok(read!(db, c => {
        let mut query = QueryBuilder::new(
            "select task_id, envelope, command_digest, keyid, cancel_envelope, traceparent from tasks where task_id in (");
        let mut list = query.separated(", ");
        for id in task_ids {
            list.push_bind(id);
        }
        query.push(")");
        query.build_query_as().fetch_all(c).await
    })?)
}

/// Notes that somebody asked to cancel a task, once; the first signed cancel stays.
pub async fn request_cancel(tx: &mut Tx, task_id: &str, envelope: &str, now: Time) -> Result<bool> {
    let changed = on!(tx, c => sqlx::query(
        "update tasks set cancel_requested_at = ?, cancel_envelope = ? where task_id = ? and cancel_requested_at is null")
        .bind(now.0).bind(envelope).bind(task_id).execute(c).await.map(|done| done.rows_affected()))?;
    Ok(changed > 0)
}

/// Adds `by` to a task's counts.
pub(super) async fn shift(tx: &mut Tx, task_id: &str, by: &Counts) -> Result<()> {
    if *by == Counts::default() {
        return Ok(());
    }
    later!(tx, query => {
        query.push("update tasks set ");
        let mut columns = query.separated(", ");
        for status in Status::ALL.into_iter().filter(|status| by.of(*status) != 0) {
            let column = status.as_str();
            columns.push(column).push_unseparated(" = ").push_unseparated(column).push_unseparated(" + ");
            columns.push_bind_unseparated(by.of(status));
        }
        query.push(" where task_id = ").push_bind(task_id);
    })?;
    Ok(())
}
