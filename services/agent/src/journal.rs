//! The agent's durable memory: what it accepted, what it must not accept, and what it still has to
//! report.
//!
//! A job goes `accepted → starting → finished`. Acceptance is on the disk before the broker is told;
//! `starting` is on the disk before the fork, in the same write as acceptance where the command can
//! start at once; the end and the result are one write. What is found `starting` after a crash
//! may have run, so it never runs again. Where the process is (the mark) and that the broker took a
//! result may be lost to a power cut without harm, so those writes do not wait for the disk.
//!
//! The spool is not a table of its own: it is the jobs whose result the broker does not have yet.
//!
//! A journal that cannot be used is no reason to fall silent. Every call then fails with a sentence,
//! which [`Journal::trouble`] keeps for the heartbeat, and nothing is run. A damaged one is left as it
//! is, for a person to move away: a new one made in its place would know nothing of what already ran.
//!
//! Time is what the plane signed, as far as the host's own clock has come too (`not_before`). So a
//! clock that jumps ahead makes nothing be forgotten, and one that jumps back is noticed.

mod entry;
mod file;
mod memory;

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use shared::clock::Time;
use shared::crash::{self, Point};
use shared::db::{Disk, Lite};
use shared::error::{Error, Result};
use shared::metrics;
use sqlx::{QueryBuilder, Sqlite};

pub use entry::{Entry, Phase, Unfinished};
use file::File;
pub use file::Summary;

use crate::exec::Mark;

/// How much younger the newest signed command must be before a finished job is forgotten: longer than
/// any message about it can live.
const KEEP: Duration = Duration::from_secs(8 * 24 * 3_600);

/// A task's id, and the SHA-256 of its command's payload.
pub type JobId<'a> = (&'a str, &'a str);

/// A cancel as it is kept: task, digest of the command that it is for, and until when it is kept.
pub type KeptCancel = (String, String, Time);

/// The journal of one agent.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    disk: Disk,
    key_is_new: bool,
    /// Empty until it could be opened.
    file: OnceLock<File>,
    /// Why it could not be used the last time, in one sentence.
    trouble: Mutex<Option<String>>,
    /// Bytes of the results that the broker does not have yet, by task.
    spooled: Mutex<HashMap<String, usize>>,
}

/// A result that the broker does not have yet.
#[derive(Clone, Debug)]
pub struct Spooled {
    /// The task that it is about.
    pub task_id: String,
    /// What it says, in JSON, to be signed.
    pub result: String,
    /// The trace it belongs to.
    pub traceparent: Option<String>,
}

/// What the journal knows of some tasks.
#[derive(Debug, Default)]
pub struct Known {
    /// Those that are journalled, with the digests of their commands.
    pub jobs: HashMap<String, String>,
    /// Those for which a cancel has come, and the digests of the commands that it was for.
    pub cancelled: HashSet<(String, String)>,
}

/// A run of the agent, and the one that its journal knows before it. Its name is a time in
/// milliseconds, or a greater number.
#[derive(Clone, Copy, Debug)]
pub struct Boot {
    number: i64,
    previous: Option<i64>,
}

impl Boot {
    /// A run that begins at `now`, when no journal tells of those before.
    pub const fn unrecorded(now: Time) -> Self {
        Self { number: now.0, previous: None }
    }

    /// Its name, which sorts after those of all runs before that the journal knows.
    pub fn id(self) -> String {
        format!("{:016x}", self.number)
    }

    /// The name of the run before, if there was one.
    pub fn previous_id(self) -> Option<String> {
        self.previous.map(|number| format!("{number:016x}"))
    }
}

impl Journal {
    /// The journal in `path` on `disk`, which [`Journal::open`] opens. A new journal beside an older key
    /// (`key_is_new` is false) refuses commands signed before it was made: one may have been lost.
    pub fn new(path: PathBuf, disk: Disk, key_is_new: bool) -> Self {
        let (file, trouble, spooled) = (OnceLock::new(), Mutex::default(), Mutex::default());
        Self { path, disk, key_is_new, file, trouble, spooled }
    }

    /// Opens the file, unless it is open; makes it when it is missing.
    ///
    /// # Errors
    /// It is damaged, or the disk refuses. It may be tried again.
    pub async fn open(&self, now: Time) -> Result<()> {
        if self.file.get().is_some() {
            return Ok(());
        }
        let opened = self.noted(File::open(&self.path, &self.disk, self.key_is_new, now).await)?;
        let sizes = self.noted(opened.spooled_sizes().await)?;
        metrics::spooled(0, sizes.len());
        *self.sizes() = sizes;
        _ = self.file.set(opened); // one caller opens at a time
        Ok(())
    }

    fn file(&self) -> Result<&File> {
        self.file.get().ok_or_else(|| {
            Error::unavailable(self.trouble().unwrap_or_else(|| "the journal is not open yet".to_owned()))
        })
    }

    fn lite(&self) -> Result<&Lite> {
        Ok(&self.file()?.lite)
    }

    /// Why the journal could not be used the last time, in one sentence.
    pub fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Keeps why something failed, and forgets that once something went well.
    fn noted<T>(&self, outcome: Result<T>) -> Result<T> {
        let new = outcome.as_ref().err().map(|error| file::sentence(&self.path, error));
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        if *trouble != new && !self.is_closed() {
            match &new {
                Some(why) => tracing::error!(why, "the journal cannot be used; no command is run until it can"),
                None => tracing::info!("the journal can be used again"),
            }
        }
        *trouble = new;
        outcome
    }

    /// Tries to write to the disk, to see whether trouble is over.
    pub async fn probe(&self, now: Time) -> Result<()> {
        let probe = async {
            let mut tx = self.lite()?.begin();
            memory::remember(&mut tx, "probed", now.0).await?;
            Ok(tx.commit().await?)
        };
        self.noted(probe.await)
    }

    /// Commands signed before this are refused.
    pub fn epoch(&self) -> Time {
        self.file.get().map_or(Time(i64::MAX), |file| file.epoch)
    }

    /// It is at least so late: both the plane's clock and the host's own have been there.
    pub fn not_before(&self) -> Time {
        self.file.get().map_or(Time(i64::MIN), File::not_before)
    }

    /// A run that begins now, whose name sorts after those of all runs before, whatever the clock does.
    pub async fn next_boot(&self, now: Time) -> Result<Boot> {
        let next = async {
            let mut tx = self.lite()?.begin();
            let last = memory::recall_or(&mut tx, "boot", 0).await?;
            let number = now.0.max(last + 1);
            memory::remember(&mut tx, "boot", number).await?;
            tx.commit().await?;
            Ok(Boot { number, previous: (last > 0).then_some(last) })
        };
        self.noted(next.await)
    }

    /// Writes down a run that began before the journal could be written.
    pub async fn record(&self, boot: Boot) -> Result<()> {
        let record = async {
            let mut tx = self.lite()?.begin();
            if memory::recall_or(&mut tx, "boot", 0).await? < boot.number {
                memory::remember(&mut tx, "boot", boot.number).await?;
            }
            Ok(tx.commit().await?)
        };
        self.noted(record.await)
    }

    /// What is known of these tasks.
    pub async fn known(&self, task_ids: &[&str]) -> Result<Known> {
        self.noted(self.look_up(task_ids).await)
    }

    async fn look_up(&self, task_ids: &[&str]) -> Result<Known> {
        let mut query = QueryBuilder::<Sqlite>::new("select task_id, digest, 0 from jobs where task_id in (");
        list(&mut query, task_ids);
        query.push(") union all select task_id, digest, 1 from cancels where task_id in (");
        list(&mut query, task_ids);
        query.push(")");
        let rows: Vec<(String, String, i64)> =
            query.build_query_as().fetch_all(self.lite()?.reader().await?.connection()?).await?;
        let mut known = Known::default();
        for (task_id, digest, is_cancel) in rows {
            if is_cancel == 1 {
                known.cancelled.insert((task_id, digest));
            } else {
                known.jobs.insert(task_id, digest);
            }
        }
        Ok(known)
    }

    /// Writes what a batch of messages came to, to the disk: all of it or nothing.
    pub async fn admit(&self, entries: &[Entry], cancels: &[KeptCancel]) -> Result<()> {
        if cancels.is_empty() {
            return self.write(entries).await;
        }
        self.noted(self.admit_with(entries, cancels).await)?;
        self.count(entries);
        Ok(())
    }

    async fn admit_with(&self, entries: &[Entry], cancels: &[KeptCancel]) -> Result<()> {
        let mut tx = self.lite()?.begin();
        for (task_id, digest, keep_until) in cancels {
            let query = sqlx::query("insert or replace into cancels (task_id, digest, keep_until) values (?, ?, ?)");
            query.bind(task_id).bind(digest).bind(keep_until.0).execute(tx.connection().await?).await?;
        }
        if !entries.is_empty() {
            let mut query = QueryBuilder::new("");
            entry::upsert(&mut query, entries);
            query.build().execute(tx.connection().await?).await?;
        }
        Ok(tx.commit().await?)
    }

    /// Writes entries to the disk in one step.
    pub async fn write(&self, entries: &[Entry]) -> Result<()> {
        if entries.is_empty() {
            return Ok(());
        }
        let written = async { self.lite()?.write(|query| entry::upsert(query, entries)).await };
        self.noted(written.await)?;
        self.count(entries);
        Ok(())
    }

    fn sizes(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.spooled.lock().unwrap_or_else(PoisonError::into_inner) // a map is sound whatever panicked
    }

    fn count(&self, entries: &[Entry]) {
        if let Some(file) = self.file.get() {
            entries.iter().for_each(|entry| file.passed(entry.not_before()));
        }
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
        self.noted(self.set_starting(task_id).await)
    }

    async fn set_starting(&self, task_id: &str) -> Result<()> {
        let mut tx = self.lite()?.begin();
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
        let marked = async { self.lite()?.write_soft(mark).await };
        self.noted(marked.await)
    }

    /// The jobs whose end was not seen, in the order in which they came.
    pub async fn unfinished(&self) -> Result<Vec<Unfinished>> {
        let found = async { entry::unfinished(self.lite()?).await };
        self.noted(found.await)
    }

    /// Up to `most` results, oldest first.
    pub async fn spooled(&self, most: usize) -> Result<Vec<Spooled>> {
        self.noted(self.oldest(most).await)
    }

    async fn oldest(&self, most: usize) -> Result<Vec<Spooled>> {
        let rows: Vec<(String, String, Option<String>)> = sqlx::query_as(
            "select task_id, result, traceparent from jobs where result is not null order by at limit ?",
        )
        .bind(most as i64)
        .fetch_all(self.lite()?.reader().await?.connection()?)
        .await?;
        Ok(rows.into_iter().map(|(task_id, result, traceparent)| Spooled { task_id, result, traceparent }).collect())
    }

    /// Drops results that the broker has.
    pub async fn delivered(&self, results: &[&Spooled]) -> Result<()> {
        if results.is_empty() {
            return Ok(());
        }
        let ids: Vec<_> = results.iter().map(|spooled| spooled.task_id.as_str()).collect();
        let deliver = |query: &mut QueryBuilder<Sqlite>| {
            query.push("update jobs set result = null where task_id in (");
            list(query, &ids);
            query.push(")");
        };
        let dropped = async { self.lite()?.write_soft(deliver).await };
        self.noted(dropped.await)?;
        let mut sizes = self.sizes();
        let before = sizes.len();
        for id in ids {
            sizes.remove(id);
        }
        metrics::spooled(before, sizes.len());
        Ok(())
    }

    /// How many results wait, and how many bytes they have.
    pub fn spool_size(&self) -> (usize, usize) {
        let sizes = self.sizes();
        (sizes.len(), sizes.values().sum())
    }

    /// Forgets what no message can be about any more: what was signed [`KEEP`] before the newest
    /// command was. By the host's clock alone nothing is forgotten, since that may jump ahead and back.
    pub async fn forget(&self) -> Result<()> {
        let newest = self.not_before().0;
        let before = newest.saturating_sub(i64::try_from(KEEP.as_millis()).unwrap_or(i64::MAX));
        let forget = async {
            let mut tx = self.lite()?.begin_soft();
            let query = sqlx::query("delete from jobs where phase = 'finished' and result is null and issued_at < ?");
            query.bind(before).execute(tx.connection().await?).await?;
            sqlx::query("delete from cancels where keep_until < ?")
                .bind(newest)
                .execute(tx.connection().await?)
                .await?;
            crash::point(Point::AgentForgetting);
            Ok(tx.commit().await?)
        };
        self.noted(forget.await)
    }

    /// Whether the agent is going down.
    pub fn is_closed(&self) -> bool {
        self.file.get().is_some_and(|file| file.lite.is_closed())
    }

    /// Closes the file.
    pub async fn close(&self) {
        if let Some(file) = self.file.get() {
            file.lite.close().await;
        }
    }
}

fn list(query: &mut QueryBuilder<Sqlite>, task_ids: &[&str]) {
    let mut list = query.separated(", ");
    for task_id in task_ids {
        list.push_bind((*task_id).to_owned());
    }
}
