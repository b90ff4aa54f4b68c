//! The agent's durable memory: what it accepted, what it must not accept, and what it still has to
//! report.
//!
//! A job goes `accepted → starting → finished`. Acceptance is on the disk before the broker is told;
//! `starting` is on the disk before the fork, in the same write as acceptance where the command can
//! start at once; the end and the report of it are one write. What is found `starting` after a crash
//! may have run, so it never runs again. Where the process is (the mark) and that the broker took a
//! report may be lost to a power cut without harm, so those writes do not wait for the disk.
//!
//! The spool is not a table of its own: it is the jobs whose report the broker does not have yet.

mod entry;
mod memory;

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use shared::clock::Time;
use shared::db::Lite;
use shared::error::{Error, Result};
use shared::metrics;
use sqlx::{QueryBuilder, Sqlite};

pub use entry::{Entry, Phase, Unfinished};

use crate::exec::Mark;

/// How long a finished job is remembered: longer than any message about it can live.
const KEEP: Duration = Duration::from_secs(8 * 24 * 3_600);

const SCHEMA: [&str; 4] = [
    "create table if not exists jobs (task_id text not null primary key, digest text not null, phase text not null,
        message blob, traceparent text, mark text, report text, at integer not null) without rowid",
    "create index if not exists jobs_open on jobs (at) where phase <> 'finished' or report is not null",
    "create table if not exists cancels (task_id text not null primary key, keep_until integer not null) without rowid",
    "create table if not exists memory (name text not null primary key, value integer not null) without rowid",
];

/// A task's id, and the SHA-256 of its command's payload.
pub type JobId<'a> = (&'a str, &'a str);

/// The journal of one agent.
#[derive(Debug)]
pub struct Journal {
    lite: Lite,
    /// Commands signed before this are refused: a journal may have been lost.
    epoch: Time,
    /// Bytes of the reports that the broker does not have yet, by task.
    spooled: Mutex<HashMap<String, usize>>,
}

/// A report that the broker does not have yet.
#[derive(Clone, Debug)]
pub struct Spooled {
    /// The task that it is about.
    pub task_id: String,
    /// The envelope.
    pub report: String,
    /// The trace it belongs to.
    pub traceparent: Option<String>,
}

/// What the journal knows of some tasks.
#[derive(Debug, Default)]
pub struct Known {
    /// Those that are journalled.
    pub jobs: HashSet<String>,
    /// Those for which a cancel has come.
    pub cancelled: HashSet<String>,
}

impl Journal {
    /// Opens the journal, making it when it is missing. A new journal beside an older key
    /// (`key_is_new` is false) refuses commands signed before `now`: it may have been lost.
    pub async fn open(path: &Path, key_is_new: bool, now: Time) -> Result<Self> {
        let lite = Lite::open_small(path).await?;
        let mut tx = lite.begin().await?;
        for statement in SCHEMA {
            sqlx::query(statement).execute(tx.connection().await?).await?;
        }
        let first = if key_is_new { 0 } else { now.0 };
        let epoch = memory::recall_or(&mut tx, "epoch", first).await?;
        let sizes = "select task_id, length(report) from jobs where report is not null";
        let sizes: Vec<(String, i64)> = sqlx::query_as(sizes).fetch_all(tx.connection().await?).await?;
        tx.commit().await?;
        let size = |(task_id, bytes)| (task_id, usize::try_from(bytes).unwrap_or(0));
        metrics::spooled(0, sizes.len());
        Ok(Self { lite, epoch: Time(epoch), spooled: Mutex::new(sizes.into_iter().map(size).collect()) })
    }

    /// Commands signed before this are refused.
    pub const fn epoch(&self) -> Time {
        self.epoch
    }

    /// A name for this run that sorts after those of all runs before, whatever the clock does.
    pub async fn next_boot(&self, now: Time) -> Result<String> {
        let mut tx = self.lite.begin().await?;
        let boot = now.0.max(memory::recall_or(&mut tx, "boot", 0).await? + 1);
        memory::remember(&mut tx, "boot", boot).await?;
        tx.commit().await?;
        Ok(format!("{boot:016x}"))
    }

    /// What is known of these tasks.
    pub async fn known(&self, task_ids: &[&str]) -> Result<Known> {
        let mut query = QueryBuilder::<Sqlite>::new("select task_id, 0 from jobs where task_id in (");
        list(&mut query, task_ids);
        query.push(") union all select task_id, 1 from cancels where task_id in (");
        list(&mut query, task_ids);
        query.push(")");
        let rows: Vec<(String, i64)> =
            query.build_query_as().fetch_all(self.lite.reader().await?.connection()?).await?;
        let mut known = Known::default();
        for (task_id, is_cancel) in rows {
            if is_cancel == 1 {
                known.cancelled.insert(task_id)
            } else {
                known.jobs.insert(task_id)
            };
        }
        Ok(known)
    }

    /// Writes what a batch of messages came to, to the disk: all of it or nothing.
    pub async fn admit(&self, entries: &[Entry], cancels: &[(String, Time)]) -> Result<()> {
        if cancels.is_empty() {
            return self.write(entries).await;
        }
        let mut tx = self.lite.begin().await?;
        for (task_id, keep_until) in cancels {
            let query = sqlx::query("insert or replace into cancels (task_id, keep_until) values (?, ?)");
            query.bind(task_id).bind(keep_until.0).execute(tx.connection().await?).await?;
        }
        if !entries.is_empty() {
            let mut query = QueryBuilder::new("");
            entry::upsert(&mut query, entries);
            query.build().execute(tx.connection().await?).await?;
        }
        tx.commit().await?;
        self.count(entries);
        Ok(())
    }

    /// Writes entries to the disk in one step.
    pub async fn write(&self, entries: &[Entry]) -> Result<()> {
        if entries.is_empty() {
            return Ok(());
        }
        self.lite.write(|query| entry::upsert(query, entries)).await?;
        self.count(entries);
        Ok(())
    }

    fn sizes(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.spooled.lock().unwrap_or_else(PoisonError::into_inner) // a map is sound whatever panicked
    }

    fn count(&self, entries: &[Entry]) {
        let mut sizes = self.sizes();
        let before = sizes.len();
        sizes.extend(entries.iter().filter_map(Entry::spooled));
        metrics::spooled(before, sizes.len());
    }

    /// Notes, on the disk, that an accepted job is about to start.
    ///
    /// # Errors
    /// Also when the journal has no such job, which then must not start.
    pub async fn start(&self, task_id: &str) -> Result<()> {
        let mut tx = self.lite.begin().await?;
        let start = |query: &mut QueryBuilder<Sqlite>| {
            query.push("update jobs set phase = 'starting' where phase = 'accepted' and task_id = ").push_bind(task_id);
        };
        if tx.run(start).await? != 1 {
            return Err(Error::internal("a job that is not accepted must not start"));
        }
        Ok(tx.commit().await?)
    }

    /// Notes where a job's process is.
    pub async fn mark(&self, task_id: &str, mark: &Mark) -> Result<()> {
        let json = serde_json::to_string(mark).map_err(Error::internal)?;
        let mark = |query: &mut QueryBuilder<Sqlite>| {
            query.push("update jobs set mark = ").push_bind(json);
            query.push(" where task_id = ").push_bind(task_id.to_owned());
        };
        self.lite.write_soft(mark).await
    }

    /// The jobs whose end was not seen, in the order in which they came.
    pub async fn unfinished(&self) -> Result<Vec<Unfinished>> {
        entry::unfinished(&self.lite).await
    }

    /// Up to `most` reports, oldest first.
    pub async fn spooled(&self, most: usize) -> Result<Vec<Spooled>> {
        let rows: Vec<(String, String, Option<String>)> = sqlx::query_as(
            "select task_id, report, traceparent from jobs where report is not null order by at limit ?",
        )
        .bind(most as i64)
        .fetch_all(self.lite.reader().await?.connection()?)
        .await?;
        Ok(rows.into_iter().map(|(task_id, report, traceparent)| Spooled { task_id, report, traceparent }).collect())
    }

    /// Drops reports that the broker has.
    pub async fn delivered(&self, reports: &[&Spooled]) -> Result<()> {
        if reports.is_empty() {
            return Ok(());
        }
        let ids: Vec<_> = reports.iter().map(|spooled| spooled.task_id.as_str()).collect();
        let deliver = |query: &mut QueryBuilder<Sqlite>| {
            query.push("update jobs set report = null where task_id in (");
            list(query, &ids);
            query.push(")");
        };
        self.lite.write_soft(deliver).await?;
        let mut sizes = self.sizes();
        let before = sizes.len();
        for id in ids {
            sizes.remove(id);
        }
        metrics::spooled(before, sizes.len());
        Ok(())
    }

    /// How many reports wait, and how many bytes they have.
    pub fn spool_size(&self) -> (usize, usize) {
        let sizes = self.sizes();
        (sizes.len(), sizes.values().sum())
    }

    /// Forgets what no message can be about any more.
    pub async fn forget(&self, now: Time) -> Result<()> {
        let before = now.0 - i64::try_from(KEEP.as_millis()).unwrap_or(i64::MAX);
        let mut tx = self.lite.begin_soft().await?;
        let query = sqlx::query("delete from jobs where phase = 'finished' and report is null and at < ?");
        query.bind(before).execute(tx.connection().await?).await?;
        sqlx::query("delete from cancels where keep_until < ?").bind(now.0).execute(tx.connection().await?).await?;
        Ok(tx.commit().await?)
    }

    /// Whether the agent is going down.
    pub fn is_closed(&self) -> bool {
        self.lite.is_closed()
    }

    /// Closes the file.
    pub async fn close(&self) {
        self.lite.close().await;
    }
}

fn list(query: &mut QueryBuilder<Sqlite>, task_ids: &[&str]) {
    let mut list = query.separated(", ");
    for task_id in task_ids {
        list.push_bind((*task_id).to_owned());
    }
}
