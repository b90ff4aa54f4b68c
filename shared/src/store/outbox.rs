//! What still has to reach the broker. A row is written in the transaction of the change that it
//! tells of, leased by a relay, and deleted once the broker has confirmed it.
//!
//! A lease is an update that only one relay can win (the outer condition on `due_at`), so any
//! number of relays may run and no lock is held while talking to the broker. A relay that dies
//! leaves a lease that runs out. The outbox is never followed by a cursor: ids commit out of order.

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
    /// The server it concerns.
    pub hostname: String,
    /// The trace it belongs to.
    pub traceparent: Option<String>,
    /// It is pointless after this.
    pub expires_at: Option<Time>,
    /// How often it was leased, this time included.
    pub attempts: i64,
}

/// Adds rows, due at once.
pub async fn insert(tx: &mut Tx, entries: &[Entry<'_>], now: Time) -> Result<()> {
    add(tx, entries, 0, now).await
}

/// Adds rows for what was sent before, and so cannot be taken back any more.
pub async fn insert_again(tx: &mut Tx, entries: &[Entry<'_>], now: Time) -> Result<()> {
    add(tx, entries, 1, now).await
}

async fn add(tx: &mut Tx, entries: &[Entry<'_>], attempts: i64, now: Time) -> Result<()> {
    for chunk in entries.chunks(INSERT_ROWS) {
        later!(&mut *tx, query => {
            query.push("insert into outbox (id, kind, task_id, hostname, traceparent, expires_at, due_at, attempts) ");
            query.push_values(chunk, |mut row, entry| {
                row.push_bind(id::sortable(now)).push_bind(entry.kind.as_str()).push_bind(entry.task_id)
                    .push_bind(entry.hostname).push_bind(entry.traceparent)
                    .push_bind(entry.expires_at.map(|at| at.0)).push_bind(now.0).push_bind(attempts);
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
        query.push("select id, kind, task_id, hostname, traceparent, expires_at, attempts from outbox where lease = ");
        query.push_bind(lease).push(" order by id");
    })?;
    rows.into_iter().map(leased_row).collect()
}

fn leased_row(row: Row) -> Result<Leased> {
    let kind = Kind::parse(&row.kind).ok_or_else(|| super::inconsistent("outbox", "kind", &row.kind))?;
    Ok(Leased {
        id: row.id,
        kind,
        task_id: row.task_id,
        hostname: row.hostname,
        traceparent: row.traceparent,
        expires_at: row.expires_at.map(Time),
        attempts: row.attempts,
    })
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
pub async fn retry(tx: &mut Tx, id: &str, lease: &str, due: Time) -> Result<()> {
    later!(tx, query => {
        query.push("update outbox set lease = null, due_at = ").push_bind(due.0);
        query.push(" where id = ").push_bind(id).push(" and lease = ").push_bind(lease);
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
