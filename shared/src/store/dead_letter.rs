//! Dead letters. The broker's queue is where they land, this table is where they are read: a queue can
//! only be taken from, so one letter of it can be neither looked for, nor replayed or dropped alone,
//! nor counted by reason.
//!
//! The same message given up for the same reason is one letter that came several times. There is room
//! for so many and so many bytes; when it is full the least worth go first: those that nobody signed,
//! then the oldest. So forged traffic fills no disk, and pushes out nothing that was signed.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::QueryBuilder;

use crate::clock::Time;
use crate::contract::dead_letter::DeadLetter;
use crate::db::{Db, Tx, row};
use crate::error::Result;
use crate::rules::limits::{DEAD_LETTERS_BYTES_MAX, DEAD_LETTERS_MAX, INSERT_ROWS};
use crate::sign::digest;
use crate::telemetry::TraceContext;
use crate::{later, on, read, run};

/// Letters read at a time while room is made.
const EVICT_ROWS: i64 = 500;

/// A message that could not be handled. Every text fits its column, so that no letter can be disliked
/// by the database: there is no place left to put it then.
#[derive(Clone, Debug)]
pub struct NewLetter {
    /// Why, in one word.
    pub reason: String,
    /// The rest of the reason.
    pub detail: Option<String>,
    /// Where it was given up.
    pub queue: String,
    /// What it claims to be.
    pub kind: Option<&'static str>,
    /// The server it is about.
    pub hostname: Option<String>,
    /// The task it is about.
    pub task_id: Option<String>,
    /// Whether its signature holds.
    pub verified: bool,
    /// The trace it belongs to.
    pub traceparent: Option<String>,
    /// Its size, in bytes.
    pub size: usize,
    /// What is kept of it.
    pub body: Vec<u8>,
    /// It may have been kept before, and was only not settled.
    pub redelivered: bool,
}

impl NewLetter {
    fn id(&self) -> String {
        let head = format!("{}\n{}\n{}\n", self.queue, self.reason, self.size);
        digest(&[head.as_bytes(), &self.body].concat())[..32].to_owned()
    }
}

/// Keeps letters; one that is kept already is counted once more, and no longer about to be replayed.
/// Returns how many others had to make room.
pub async fn keep(tx: &mut Tx, letters: &[NewLetter], now: Time) -> Result<u64> {
    let mut by_id: BTreeMap<String, (&NewLetter, i64)> = BTreeMap::new();
    for letter in letters {
        by_id.entry(letter.id()).or_insert((letter, 0)).1 += 1;
    }
    let ids: Vec<_> = by_id.keys().map(String::as_str).collect();
    for id in known(tx, &ids).await? {
        if let Some((letter, times)) = by_id.remove(&id) {
            again(tx, &id, if letter.redelivered { 0 } else { times }, now).await?;
        }
    }
    insert(tx, &by_id, now).await?;
    evict(tx).await
}

async fn known(tx: &mut Tx, ids: &[&str]) -> Result<Vec<String>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let rows: Vec<(String,)> = on!(tx, c => {
        let mut query = QueryBuilder::new("select id from dead_letters where id in (");
        let mut list = query.separated(", ");
        for id in ids {
            list.push_bind(*id);
        }
        query.push(")");
        query.build_query_as().fetch_all(c).await
    })?;
    Ok(rows.into_iter().map(|(id,)| id).collect())
}

async fn again(tx: &mut Tx, id: &str, times: i64, now: Time) -> Result<()> {
    later!(tx, query => {
        query.push("update dead_letters set times = times + ").push_bind(times).push(", last_at = ").push_bind(now.0)
            .push(", replay_at = null where id = ").push_bind(id);
    })?;
    Ok(())
}

async fn insert(tx: &mut Tx, letters: &BTreeMap<String, (&NewLetter, i64)>, now: Time) -> Result<()> {
    let letters: Vec<_> = letters.iter().collect();
    for chunk in letters.chunks(INSERT_ROWS) {
        later!(&mut *tx, query => {
            query.push("insert into dead_letters (id, reason, detail, queue, kind, hostname, task_id, verified, \
                traceparent, size, kept, times, first_at, last_at, body) ");
            query.push_values(chunk, |mut row, (id, (letter, times))| {
                row.push_bind(id.as_str()).push_bind(&letter.reason).push_bind(&letter.detail).push_bind(&letter.queue)
                    .push_bind(letter.kind).push_bind(&letter.hostname).push_bind(&letter.task_id)
                    .push_bind(i64::from(letter.verified)).push_bind(&letter.traceparent)
                    .push_bind(letter.size as i64).push_bind(letter.body.len() as i64).push_bind(*times)
                    .push_bind(now.0).push_bind(now.0).push_bind(letter.body.as_slice());
            });
        })?;
    }
    Ok(())
}

/// Makes room: what nobody signed first, then the oldest.
async fn evict(tx: &mut Tx) -> Result<u64> {
    let (mut rows, mut bytes): (i64, i64) = on!(&mut *tx, c => sqlx::query_as(
        "select count(*), cast(coalesce(sum(kept), 0) as signed) from dead_letters").fetch_one(c).await)?;
    let mut evicted = 0;
    while rows > DEAD_LETTERS_MAX as i64 || bytes > DEAD_LETTERS_BYTES_MAX as i64 {
        let least: Vec<(String, i64)> = on!(&mut *tx, c => sqlx::query_as(
            "select id, kept from dead_letters order by verified, last_at, id limit ?")
            .bind(EVICT_ROWS).fetch_all(c).await)?;
        let mut ids = Vec::new();
        for (id, kept) in least {
            if rows <= DEAD_LETTERS_MAX as i64 && bytes <= DEAD_LETTERS_BYTES_MAX as i64 {
                break;
            }
            (rows, bytes) = (rows - 1, bytes - kept);
            ids.push(id);
        }
        if ids.is_empty() {
            break; // others have made room meanwhile
        }
        evicted += delete(&mut *tx, &ids).await?;
    }
    Ok(evicted)
}

async fn delete(tx: &mut Tx, ids: &[String]) -> Result<u64> {
    Ok(run!(tx, query => {
        query.push("delete from dead_letters where id in (");
        let mut list = query.separated(", ");
        for id in ids {
            list.push_bind(id.as_str());
        }
        query.push(")");
    })?)
}

row! {
    #[derive(Debug)]
    struct Row {
        id: String,
        reason: String,
        detail: Option<String>,
        queue: String,
        kind: Option<String>,
        hostname: Option<String>,
        task_id: Option<String>,
        verified: i64,
        traceparent: Option<String>,
        size: i64,
        kept: i64,
        times: i64,
        first_at: i64,
        last_at: i64,
        replay_at: Option<i64>,
    }
}

impl Row {
    fn shown(self) -> DeadLetter {
        let trace = self.traceparent.as_deref().and_then(TraceContext::parse);
        DeadLetter {
            trace_id: trace.map(|trace| trace.trace_id()),
            id: self.id,
            reason: self.reason,
            detail: self.detail,
            queue: self.queue,
            kind: self.kind,
            hostname: self.hostname,
            task_id: self.task_id,
            verified: self.verified != 0,
            size: self.size,
            kept: self.kept,
            times: self.times,
            first_at: Time(self.first_at),
            last_at: Time(self.last_at),
            replay_requested_at: self.replay_at.map(Time),
        }
    }
}

const COLUMNS: &str = "select id, reason, detail, queue, kind, hostname, task_id, verified, traceparent, size, kept, \
                       times, first_at, last_at, replay_at from dead_letters";

/// Where a page starts: before this time and id.
pub type Before = (i64, String);

/// Letters from the newest on; with a reason only those given up for it.
pub async fn page(db: &Db, reason: Option<&str>, before: &Before, limit: usize) -> Result<Vec<DeadLetter>> {
    let rows: Vec<Row> = read!(db, c => {
        let mut query = QueryBuilder::new(COLUMNS);
        query.push(" where (last_at < ").push_bind(before.0).push(" or (last_at = ").push_bind(before.0);
        query.push(" and id < ").push_bind(&before.1).push("))");
        if let Some(reason) = reason {
            query.push(" and reason = ").push_bind(reason);
        }
        query.push(" order by last_at desc, id desc limit ").push_bind(limit as i64);
        query.build_query_as().fetch_all(c).await
    })?;
    Ok(rows.into_iter().map(Row::shown).collect())
}

/// One letter.
pub async fn find(db: &Db, id: &str) -> Result<Option<DeadLetter>> {
    let row: Option<Row> = read!(db, c => {
        let mut query = QueryBuilder::new(COLUMNS);
        query.push(" where id = ").push_bind(id);
        query.build_query_as().fetch_optional(c).await
    })?;
    Ok(row.map(Row::shown))
}

/// What was kept of a letter, and the trace that it carries on.
pub async fn body(db: &Db, id: &str) -> Result<Option<(Vec<u8>, Option<String>)>> {
    Ok(read!(db, c => sqlx::query_as("select body, traceparent from dead_letters where id = ?")
        .bind(id).fetch_optional(c).await)?)
}

/// Removes a letter; `false` when there is none.
pub async fn remove(tx: &mut Tx, id: &str) -> Result<bool> {
    Ok(delete(tx, &[id.to_owned()]).await? > 0)
}

/// Notes that a letter shall be replayed; `false` when there is none.
pub async fn request_replay(tx: &mut Tx, id: &str, now: Time) -> Result<bool> {
    let changed = run!(tx, query => {
        query.push("update dead_letters set replay_at = ").push_bind(now.0).push(" where id = ").push_bind(id);
    })?;
    Ok(changed > 0)
}

/// Letters to be replayed, each with its queue.
pub async fn to_replay(db: &Db, limit: usize) -> Result<Vec<(String, String)>> {
    Ok(
        read!(db, c => sqlx::query_as("select id, queue from dead_letters where replay_at is not null order by replay_at limit ?")
        .bind(limit as i64).fetch_all(c).await)?,
    )
}

/// Removes those that were replayed, but for what has come back since.
pub async fn replayed(tx: &mut Tx, ids: &BTreeSet<String>) -> Result<()> {
    for id in ids {
        later!(&mut *tx, query => {
            query.push("delete from dead_letters where replay_at is not null and id = ").push_bind(id.as_str());
        })?;
    }
    Ok(())
}

/// Takes back that a letter shall be replayed, and says why.
pub async fn not_replayed(tx: &mut Tx, id: &str, why: &str) -> Result<()> {
    later!(tx, query => {
        query.push("update dead_letters set replay_at = null, detail = ").push_bind(why)
            .push(" where id = ").push_bind(id);
    })?;
    Ok(())
}
