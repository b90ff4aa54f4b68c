//! The journal's file: checked, opened, and what is read from it once.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};

use shared::clock::Time;
use shared::db::{Disk, Lite};
use shared::error::{Error, Result};

use super::memory;

const SCHEMA: [&str; 4] = [
    "create table if not exists jobs (task_id text not null primary key, digest text not null, phase text not null,
        message blob, traceparent text, mark text, result text, issued_at integer not null,
        not_before integer not null, at integer not null) without rowid",
    "create index if not exists jobs_open on jobs (at) where phase <> 'finished' or result is not null",
    "create table if not exists cancels (task_id text not null, digest text not null, keep_until integer not null,
        primary key (task_id, digest)) without rowid",
    "create table if not exists memory (name text not null primary key, value integer not null) without rowid",
];

/// An open journal.
#[derive(Debug)]
pub struct File {
    pub lite: Lite,
    /// Commands signed before this are refused: a journal may have been lost.
    pub epoch: Time,
    not_before: AtomicI64,
}

impl File {
    /// Opens the file once its pages have been checked: a damaged page may hide a command that ran.
    pub async fn open(path: &Path, disk: &Disk, key_is_new: bool, now: Time) -> Result<Self> {
        Lite::check(path).await?;
        let lite = Lite::open_small_on(path, disk).await?;
        let mut tx = lite.begin();
        for statement in SCHEMA {
            sqlx::query(statement).execute(tx.connection().await?).await?;
        }
        let first = if key_is_new { 0 } else { now.0 };
        let epoch = Time(memory::recall_or(&mut tx, "epoch", first).await?);
        let newest = "select coalesce(max(not_before), 0) from jobs";
        let (newest,): (i64,) = sqlx::query_as(newest).fetch_one(tx.connection().await?).await?;
        tx.commit().await?;
        Ok(Self { lite, epoch, not_before: AtomicI64::new(newest) })
    }

    /// Bytes of the results that the broker does not have yet, by task.
    pub async fn spooled_sizes(&self) -> Result<HashMap<String, usize>> {
        let query = "select task_id, octet_length(result) from jobs where result is not null";
        let sizes: Vec<(String, i64)> =
            sqlx::query_as(query).fetch_all(self.lite.reader().await?.connection()?).await?;
        Ok(sizes.into_iter().map(|(task_id, bytes)| (task_id, usize::try_from(bytes).unwrap_or(0))).collect())
    }

    /// It is at least so late.
    pub fn not_before(&self) -> Time {
        Time(self.not_before.load(Ordering::Relaxed))
    }

    /// A command that shows how late it is was journalled.
    pub fn passed(&self, moment: Time) {
        self.not_before.fetch_max(moment.0, Ordering::Relaxed);
    }
}

/// What is wrong with the journal, and what to do, in one sentence.
pub fn sentence(path: &Path, error: &Error) -> String {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<sqlx::Error>());
    match cause {
        Some(cause) => Lite::complaint(path, cause),
        None => error.detail().to_owned(),
    }
}

/// What is in a journal, for a person.
#[derive(Debug)]
pub struct Summary {
    /// Commands that are remembered.
    pub jobs: i64,
    /// Those of them that have not ended.
    pub open: i64,
    /// Results that the broker does not have yet.
    pub spooled: i64,
    /// Since when the oldest of them waits.
    pub oldest_spooled: Option<Time>,
}

impl Summary {
    /// Reads a journal that may be in use, without writing.
    ///
    /// # Errors
    /// It is damaged, or cannot be read.
    pub async fn read(path: &Path) -> Result<Self> {
        Lite::check(path).await?;
        let mut connection = Lite::look(path).await?;
        let query = "select count(*), count(case when phase <> 'finished' then 1 end), count(result),
            min(case when result is not null then at end) from jobs";
        let read: sqlx::Result<(i64, i64, i64, Option<i64>)> = sqlx::query_as(query).fetch_one(&mut connection).await;
        let (jobs, open, spooled, oldest) =
            read.map_err(|error| Error::unavailable(Lite::complaint(path, &error)).because(error))?;
        Ok(Self { jobs, open, spooled, oldest_spooled: oldest.map(Time) })
    }
}
