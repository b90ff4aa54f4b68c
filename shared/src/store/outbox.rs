//! What still has to reach the broker. A row is written in the transaction of the change that it
//! tells of, leased by a relay, and deleted once the broker has confirmed it.
//!
//! A lease is an update that only one relay can win (the outer condition on `due_at`), so any
//! number of relays may run and no lock is held while talking to the broker. A relay that dies
//! leaves a lease that runs out. A row may be born leased, by the relay of the process that writes
//! it. The outbox is never followed by a cursor: ids commit out of order.

use crate::clock::Time;
use crate::db::{Db, Tx, row};
use crate::error::Result;
use crate::id;
use crate::rules::limits::INSERT_ROWS;
use crate::{later, on, read, write_soft_then};

/// What a row asks the relay to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Publish a task's command to a server.
    Command,
    /// Publish a task's cancel to a server.
    Cancel,
    /// Declare a server's queue.
    Declare,
    /// Delete a server's queue.
    Delete,
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::Cancel => "cancel",
            Self::Declare => "declare",
            Self::Delete => "delete",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Command, Self::Cancel, Self::Declare, Self::Delete].into_iter().find(|kind| kind.as_str() == text)
    }
}

/// A row to be written.
#[derive(Clone, Debug)]
pub struct Entry<'a> {
    /// What to do.
    pub kind: Kind,
    /// For a command or cancel: the task.
    pub task_id: Option<&'a str>,
    /// For a command or cancel: the task's wave that the server belongs to.
    pub wave: Option<i64>,
    /// The server it concerns.
    pub hostname: &'a str,
    /// The trace it belongs to.
    pub traceparent: Option<&'a str>,
    /// It is pointless after this.
    pub expires_at: Option<Time>,
}

row! {
    #[derive(Debug)]
    struct Row {
        id: String,
        kind: String,
        task_id: Option<String>,
        wave: Option<i64>,
        hostname: String,
        traceparent: Option<String>,
        expires_at: Option<i64>,
        attempts: i64,
    }
}

/// A row that a relay has leased.
#[derive(Clone, Debug)]
pub struct Leased {
    /// Its id.
    pub id: String,
    /// What to do.
    pub kind: Kind,
    /// For a command or cancel: the task.
    pub task_id: Option<String>,
    /// For a command or cancel: the task's wave that the server belongs to.
    pub wave: Option<i64>,
    /// The server it concerns.
    pub hostname: String,
    /// The trace it belongs to.
    pub traceparent: Option<String>,
    /// It is pointless after this.
    pub expires_at: Option<Time>,
    /// How often it was leased, this time included.
    pub attempts: i64,
    /// The name of the lease.
    pub lease: String,
}

/// How a row begins.
#[derive(Clone, Copy)]
struct Birth<'a> {
    attempts: i64,
    lease: Option<&'a str>,
    due_at: Time,
}

/// Adds rows, due at once.
pub async fn insert(tx: &mut Tx, entries: &[Entry<'_>], now: Time) -> Result<()> {
    add(tx, &with_ids(entries, now), Birth { attempts: 0, lease: None, due_at: now }).await
}

/// Adds rows for what was sent before, and so cannot be taken back any more.
pub async fn insert_again(tx: &mut Tx, entries: &[Entry<'_>], now: Time) -> Result<()> {
    add(tx, &with_ids(entries, now), Birth { attempts: 1, lease: None, due_at: now }).await
}

/// Adds rows that are leased until `until` under the name `lease`, and returns them.
pub async fn insert_leased(
    tx: &mut Tx,
    entries: &[Entry<'_>],
    lease: &str,
    now: Time,
    until: Time,
) -> Result<Vec<Leased>> {
    let rows = with_ids(entries, now);
    add(tx, &rows, Birth { attempts: 1, lease: Some(lease), due_at: until }).await?;
    let leased = |(id, entry): (String, &Entry<'_>)| Leased {
        id,
        kind: entry.kind,
        task_id: entry.task_id.map(str::to_owned),
        wave: entry.wave,
        hostname: entry.hostname.to_owned(),
        traceparent: entry.traceparent.map(str::to_owned),
        expires_at: entry.expires_at,
        attempts: 1,
        lease: lease.to_owned(),
    };
    Ok(rows.into_iter().map(leased).collect())
}

fn with_ids<'a, 'e>(entries: &'a [Entry<'e>], now: Time) -> Vec<(String, &'a Entry<'e>)> {
    entries.iter().map(|entry| (id::sortable(now), entry)).collect()
}

async fn add(tx: &mut Tx, rows: &[(String, &Entry<'_>)], birth: Birth<'_>) -> Result<()> {
    let Birth { attempts, lease, due_at } = birth;
    for chunk in rows.chunks(INSERT_ROWS) {
        later!(&mut *tx, query => {
            query.push("insert into outbox
                (id, kind, task_id, wave, hostname, traceparent, expires_at, due_at, attempts, lease) ");
            query.push_values(chunk, |mut row, (id, entry)| {
                row.push_bind(id).push_bind(entry.kind.as_str()).push_bind(entry.task_id)
                    .push_bind(entry.wave).push_bind(entry.hostname).push_bind(entry.traceparent)
                    .push_bind(entry.expires_at.map(|at| at.0)).push_bind(due_at.0).push_bind(attempts).push_bind(lease);
            });
        })?;
    }
    Ok(())
}

/// Leases up to `limit` due rows until `until`, under the name `lease`.
pub async fn lease(db: &Db, lease: &str, now: Time, until: Time, limit: usize) -> Result<Vec<Leased>> {
    let limits_updates = db.limits_updates();
    let rows: Vec<Row> = write_soft_then!(db, query => {
        query.push("update outbox set attempts = attempts + 1, lease = ").push_bind(lease);
        query.push(", due_at = ").push_bind(until.0);
        query.push(" where due_at <= ").push_bind(now.0);
        if limits_updates {
            query.push(" order by due_at, id limit ").push_bind(limit as i64);
        } else {
            query.push(" and id in (select id from outbox where due_at <= ").push_bind(now.0);
            query.push(" order by due_at, id limit ").push_bind(limit as i64).push(")");
        }
    }, query => {
        query.push("select id, kind, task_id, wave, hostname, traceparent, expires_at, attempts from outbox where lease = ");
        query.push_bind(lease).push(" order by id");
    })?;
    rows.into_iter().map(|row| leased_row(row, lease)).collect()
}

fn leased_row(row: Row, lease: &str) -> Result<Leased> {
    let kind = Kind::parse(&row.kind).ok_or_else(|| super::inconsistent("outbox", "kind", &row.kind))?;
    Ok(Leased {
        id: row.id,
        kind,
        task_id: row.task_id,
        wave: row.wave,
        hostname: row.hostname,
        traceparent: row.traceparent,
        expires_at: row.expires_at.map(Time),
        attempts: row.attempts,
        lease: lease.to_owned(),
    })
}

/// Counts every row as leased before, and ends all leases: to be done when an embedded plane starts. A
/// power cut may have taken back its soft writes, so that what was leased looks untouched, and an agent
/// may have it all the same; and whoever had a lease is gone.
pub async fn distrust(db: &Db) -> Result<()> {
    let Db::Lite(lite) = db else { return Ok(()) }; // elsewhere a lease is as durable as the row
    lite.write(|query| _ = query.push("update outbox set attempts = max(attempts, 1), lease = null, due_at = 0")).await
}

/// Removes rows that are done with, whoever holds them now.
pub async fn delete(tx: &mut Tx, ids: &[&str]) -> Result<()> {
    for chunk in ids.chunks(INSERT_ROWS) {
        later!(&mut *tx, query => {
            query.push("delete from outbox where id in (");
            let mut list = query.separated(", ");
            for id in chunk {
                list.push_bind(*id);
            }
            query.push(")");
        })?;
    }
    Ok(())
}

/// Gives a row back, to be tried again at `due`; needs the lease to be still ours.
pub async fn retry(tx: &mut Tx, row: &Leased, due: Time) -> Result<()> {
    later!(tx, query => {
        query.push("update outbox set lease = null, due_at = ").push_bind(due.0);
        query.push(" where id = ").push_bind(&row.id).push(" and lease = ").push_bind(&row.lease);
    })?;
    Ok(())
}

/// Which commands to take back.
#[derive(Clone, Copy, Debug)]
pub enum Withdraw<'a> {
    /// Those of a task.
    Task(&'a str),
    /// Those for a server.
    Host(&'a str),
}

/// Takes back commands that no relay has ever leased, and tells which: `(task_id, hostname)`.
/// Works by taking a lease, so that of a relay and a cancel only one can have a row.
pub async fn withdraw(tx: &mut Tx, which: Withdraw<'_>) -> Result<Vec<(String, String)>> {
    let lease = id::random();
    match which {
        Withdraw::Task(task) => on!(&mut *tx, c => sqlx::query(
            "update outbox set lease = ? where task_id = ? and kind = 'command' and attempts = 0")
            .bind(&lease).bind(task).execute(c).await.map(drop))?,
        Withdraw::Host(host) => on!(&mut *tx, c => sqlx::query(
            "update outbox set lease = ? where hostname = ? and kind = 'command' and attempts = 0")
            .bind(&lease).bind(host).execute(c).await.map(drop))?,
    }
    let rows: Vec<(String, String)> = on!(&mut *tx, c => sqlx::query_as("select task_id, hostname from outbox where lease = ?")
        .bind(&lease).fetch_all(c).await)?;
    on!(tx, c => sqlx::query("delete from outbox where lease = ?").bind(&lease).execute(c).await.map(drop))?;
    Ok(rows)
}

/// How many rows wait, and when the oldest of them was made.
pub async fn backlog(db: &Db) -> Result<(i64, Option<Time>)> {
    let query = "select count(*), min(id) from outbox";
    let (rows, oldest): (i64, Option<String>) = read!(db, c => sqlx::query_as(query).fetch_one(c).await)?;
    Ok((rows, oldest.and_then(|id| id::made_at(&id))))
}
