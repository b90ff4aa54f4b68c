//! Tasks, with their counts by state. A count is changed only by `shift`, together with the
//! invocations that it counts and in the same transaction.

use crate::clock::Time;
use crate::contract::task::{TargetType, Task};
use crate::db::{Db, Tx, row};
use crate::error::{Error, Result};
use crate::rules::invocation::{Status, Times};
use crate::rules::rollout::{Limit, Limits};
use crate::rules::task::Counts;
use crate::{later, on, read, rows};

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
    /// How it is rolled out; all at once when absent.
    pub limits: Option<Limits>,
    /// The task whose servers it tries again.
    pub retry_of: Option<&'a str>,
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
                   coalesce(max_concurrency, ''), coalesce(max_errors, ''), coalesce(retry_of, ''),
                   queued, sent, accepted, running, expired, lost, undeliverable, succeeded, failed, timed_out,
                   cancelled, rejected, interrupted, skipped)"
    };
}

impl Row {
    fn task(self) -> Result<Task> {
        let rest =
            Rest::read(&self.rest).ok_or_else(|| super::inconsistent("tasks", "target_type … skipped", &self.rest))?;
        let expires_at = Time(rest.expires_at);
        let times = Times::new(rest.expires_at, rest.timeout);
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
            max_concurrency: rest.max_concurrency,
            max_errors: rest.max_errors,
            retry_of: rest.retry_of.map(str::to_owned),
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
    max_concurrency: Option<Limit>,
    max_errors: Option<Limit>,
    retry_of: Option<&'a str>,
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
            max_concurrency: limit(next()?)?,
            max_errors: limit(next()?)?,
            retry_of: Some(next()?).filter(|text| !text.is_empty()),
            counts: Counts::default(),
        };
        for count in &mut rest.counts.0 {
            *count = next()?.parse().ok()?;
        }
        Some(rest)
    }
}

/// A limit, none for an empty text; `None` when it is neither.
fn limit(text: &str) -> Option<Option<Limit>> {
    if text.is_empty() { Some(None) } else { Limit::parse(text).map(Some) }
}

/// Adds a task whose invocations are all queued; a conflict when its idempotency key is in use.
pub async fn insert(tx: &mut Tx, task: &NewTask<'_>) -> Result<()> {
    let conflict = || Error::conflict("a task with this `Idempotency-Key` is being made; ask again");
    let added = later!(&mut *tx, query => {
        query.push(
            "insert into tasks (task_id, target_type, target, command, timeout, `user`, created_at, expires_at, requested_by,
                trace_id, traceparent, max_concurrency, max_errors, retry_of, idempotency_key, idempotency_digest, queued) ");
        query.push_values([task], |mut row, task| {
            row.push_bind(task.task_id).push_bind(task.target_type.as_str()).push_bind(task.target)
                .push_bind(task.command).push_bind(task.timeout).push_bind(task.user).push_bind(task.created_at.0)
                .push_bind(task.expires_at.0).push_bind(task.requested_by).push_bind(task.trace_id)
                .push_bind(task.traceparent).push_bind(task.limits.map(|limits| limits.max_concurrency.to_string()))
                .push_bind(task.limits.map(|limits| limits.max_errors.to_string())).push_bind(task.retry_of)
                .push_bind(task.idempotency.map(|(key, _)| key))
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

/// Tasks from the oldest on, those after `after`.
pub async fn oldest(db: &Db, after: &str, limit: usize) -> Result<Vec<Task>> {
    let rows: Vec<Row> = read!(db, c => sqlx::query_as(
        concat!("select ", columns!(), " from tasks where task_id > ? order by task_id limit ?"))
        .bind(after).bind(limit as i64).fetch_all(c).await)?;
    rows.into_iter().map(Row::task).collect()
}

/// How many tasks there are. Reads the smallest index as a whole.
pub async fn count(db: &Db) -> Result<u64> {
    let (count,): (i64,) = read!(db, c => sqlx::query_as("select count(*) from tasks").fetch_one(c).await)?;
    Ok(count.unsigned_abs())
}

/// The oldest task but `behind` others. Reads as many keys.
pub async fn id_behind(db: &Db, behind: u64) -> Result<Option<String>> {
    let found: Option<(String,)> = read!(db, c => sqlx::query_as("select task_id from tasks order by task_id limit 1 offset ?")
        .bind(behind as i64).fetch_optional(c).await)?;
    Ok(found.map(|(task_id,)| task_id))
}

/// Removes tasks, and with each its idempotency key. Returns those that were there; they are locked
/// first, so that of two callers only one has each.
pub async fn delete(tx: &mut Tx, task_ids: &[String]) -> Result<Vec<String>> {
    let for_update = tx.for_update();
    let found: Vec<(String,)> = rows!(&mut *tx, query => {
        super::these(query.push("select task_id from tasks where task_id in "), task_ids);
        query.push(" order by task_id").push(for_update);
    })?;
    let found: Vec<_> = found.into_iter().map(|(task_id,)| task_id).collect();
    if !found.is_empty() {
        later!(tx, query => { super::these(query.push("delete from tasks where task_id in "), &found); })?;
    }
    Ok(found)
}

/// The task that was made under an idempotency key, and the digest of what was asked then.
pub async fn by_idempotency_key(db: &Db, key: &str) -> Result<Option<(String, String)>> {
    Ok(read!(db, c => sqlx::query_as("select task_id, idempotency_digest from tasks where idempotency_key = ?")
        .bind(key).fetch_optional(c).await)?)
}

row! {
    /// What a task asks for, as its waves are signed.
    #[derive(Clone, Debug)]
    pub struct Order {
        /// The task.
        pub task_id: String,
        /// The command.
        pub command: String,
        /// How long it may run, in seconds.
        pub timeout: i64,
        /// The account it runs as.
        pub user: Option<String>,
        /// Nothing starts after this, in milliseconds since 1970.
        pub expires_at: i64,
        /// Who asked for it.
        pub requested_by: String,
        /// The span that made it.
        pub traceparent: String,
    }
}

/// What a task asks for.
pub async fn order(db: &Db, task_id: &str) -> Result<Option<Order>> {
    Ok(read!(db, c => sqlx::query_as(
        "select task_id, command, timeout, `user`, expires_at, requested_by, traceparent from tasks where task_id = ?")
        .bind(task_id).fetch_optional(c).await)?)
}

/// A task's counts, as the transaction sees them.
pub async fn counts(tx: &mut Tx, task_id: &str) -> Result<Counts> {
    let row: Option<Row> = on!(tx, c => sqlx::query_as(concat!("select ", columns!(), " from tasks where task_id = ?"))
        .bind(task_id).fetch_optional(c).await)?;
    let row = row.ok_or_else(|| Error::internal("a roll-out without its task"))?;
    let rest = Rest::read(&row.rest).ok_or_else(|| super::inconsistent("tasks", "target_type … skipped", &row.rest))?;
    Ok(rest.counts)
}

/// Notes that somebody asked to cancel a task, once. Returns whether this was the first time.
pub async fn request_cancel(tx: &mut Tx, task_id: &str, now: Time) -> Result<bool> {
    let changed = on!(tx, c => sqlx::query(
        "update tasks set cancel_requested_at = ? where task_id = ? and cancel_requested_at is null")
        .bind(now.0).bind(task_id).execute(c).await.map(|done| done.rows_affected()))?;
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
