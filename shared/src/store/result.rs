//! Results: what agents signed, one a host. Insert-only; the envelope is kept byte for byte, and
//! what people read (output, status, times) is read out of it, so the two cannot disagree. Once the
//! output is removed there is no envelope (its text is empty), and they read what the columns say.

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use sqlx::QueryBuilder;

use super::any_of;
use super::inconsistent;
use super::invocation::Key;
use super::key::KeyRow;
use crate::clock::Time;
use crate::contract::signed::ResultReport;
use crate::contract::task::{ResultConflict, ResultEvidence, TaskResult};
use crate::db::{Db, Tx, row};
use crate::error::{Error, Result};
use crate::rules::invocation::{Ending, Status};
use crate::rules::limits::INSERT_ROWS;
use crate::sign::{Verified, stored_payload};
use crate::{later, on, read, run};

/// A verified result and when it was received.
pub type Received<'a> = (&'a Verified<ResultReport>, Time);

/// The digests of those of the results that are stored.
pub async fn digests(tx: &mut Tx, keys: &[Key]) -> Result<BTreeMap<Key, String>> {
    let mut found = BTreeMap::new();
    for chunk in keys.chunks(INSERT_ROWS) {
        let rows: Vec<(String, String, String)> = on!(&mut *tx, c => {
            let mut query = QueryBuilder::new("select task_id, hostname, digest from results where (task_id, hostname) in (");
            let mut list = query.separated(", ");
            for (task_id, hostname) in chunk {
                list.push("(").push_bind_unseparated(task_id).push_unseparated(", ").push_bind_unseparated(hostname).push_unseparated(")");
            }
            query.push(")");
            query.build_query_as().fetch_all(c).await
        })?;
        found.extend(rows.into_iter().map(|(task_id, hostname, digest)| ((task_id, hostname), digest)));
    }
    Ok(found)
}

/// Stores results that are not stored yet.
pub async fn insert(tx: &mut Tx, results: &[Received<'_>]) -> Result<()> {
    for chunk in results.chunks(INSERT_ROWS) {
        let rows: Vec<_> = chunk.iter().map(|(result, at)| Ok((result, at, text(result)?))).collect::<Result<_>>()?;
        later!(&mut *tx, query => {
            query.push(
                "insert into results (task_id, hostname, exit_code, finished_at, received_at, output_at, digest, keyid, envelope) ");
            query.push_values(&rows, |mut row, (result, at, envelope)| {
                let body = result.body();
                row.push_bind(&body.task_id).push_bind(&body.iss).push_bind(body.exit_code).push_bind(body.finished_at.0)
                    .push_bind(at.0).push_bind(at.0).push_bind(result.digest()).push_bind(result.keyid()).push_bind(*envelope);
            });
        })?;
    }
    Ok(())
}

/// Keeps a result that contradicts the stored one; the same contradiction again changes nothing.
pub async fn insert_conflict(tx: &mut Tx, (result, at): Received<'_>) -> Result<()> {
    let (body, envelope) = (result.body(), text(result)?);
    on!(tx, c => sqlx::query(
        "insert into result_conflicts (task_id, hostname, digest, received_at, keyid, envelope)
         select ?, ?, ?, ?, ?, ? where not exists
         (select 1 from result_conflicts where task_id = ? and hostname = ? and digest = ?)")
        .bind(&body.task_id).bind(&body.iss).bind(result.digest()).bind(at.0).bind(result.keyid()).bind(envelope)
        .bind(&body.task_id).bind(&body.iss).bind(result.digest()).execute(c).await.map(drop))?;
    Ok(())
}

/// Up to `limit` results that have had an output since before `before`, from the oldest on.
pub async fn with_output(db: &Db, before: Time, limit: usize) -> Result<Vec<Key>> {
    Ok(
        read!(db, c => sqlx::query_as("select task_id, hostname from results where output_at < ? order by output_at limit ?")
        .bind(before.0).bind(limit as i64).fetch_all(c).await)?,
    )
}

/// Removes the outputs of results, of which there must be at least one, and with each the envelope that
/// it is in.
pub async fn remove_output(tx: &mut Tx, keys: &[Key]) -> Result<()> {
    Ok(later!(tx, query => {
        any_of(query.push("update results set envelope = '', output_at = null where "), "task_id", "hostname", keys);
    })?)
}

/// Removes results, and what contradicts them. Returns how many results there were.
pub async fn delete(tx: &mut Tx, keys: &[Key]) -> Result<u64> {
    if keys.is_empty() {
        return Ok(0);
    }
    later!(&mut *tx, query => {
        any_of(query.push("delete from result_conflicts where "), "task_id", "hostname", keys);
    })?;
    Ok(run!(tx, query => {
        any_of(query.push("delete from results where "), "task_id", "hostname", keys);
    })?)
}

fn text(result: &Verified<ResultReport>) -> Result<&str> {
    std::str::from_utf8(result.json()).map_err(Error::internal)
}

row! {
    #[derive(Debug)]
    struct Row {
        hostname: String,
        exit_code: i32,
        finished_at: i64,
        received_at: i64,
        digest: String,
        keyid: String,
        envelope: String,
    }
}

/// How an invocation ended, and why.
type End = (Status, Option<String>);

impl Row {
    /// Whether its output was removed, and the envelope with it.
    fn is_bare(&self) -> bool {
        self.envelope.is_empty()
    }

    /// What is known without the envelope.
    fn shown_bare(self, task_id: &str, end: Option<End>) -> Result<TaskResult> {
        let (status, reason) = end.ok_or_else(|| Error::internal("a result without its invocation"))?;
        let status = Ending::try_from(status).map_err(|()| inconsistent("invocations", "status", status.as_str()))?;
        Ok(TaskResult {
            task_id: task_id.to_owned(),
            exit_code: self.exit_code,
            stdout: String::new(),
            stderr: String::new(),
            timestamp: Time(self.finished_at),
            hostname: self.hostname,
            status,
            reason,
            signal: None,
            truncated: true,
            stdout_bytes: 0,
            stderr_bytes: 0,
            started_at: None,
            received_at: Time(self.received_at),
            output_removed: true,
        })
    }

    fn shown(self) -> Result<TaskResult> {
        let body: ResultReport = stored_payload(&self.envelope)?;
        Ok(TaskResult {
            task_id: body.task_id,
            exit_code: body.exit_code,
            stdout: body.stdout,
            stderr: body.stderr,
            timestamp: body.finished_at,
            hostname: self.hostname,
            status: body.status,
            reason: body.reason,
            signal: body.signal,
            truncated: body.truncated,
            stdout_bytes: body.stdout_bytes,
            stderr_bytes: body.stderr_bytes,
            started_at: body.started_at.map(Time),
            received_at: Time(self.received_at),
            output_removed: false,
        })
    }
}

/// Where a page of conflicts starts: after this hostname and digest.
pub type AfterConflict = (String, String);

row! {
    #[derive(Debug)]
    struct ConflictRow {
        hostname: String,
        digest: String,
        received_at: i64,
        keyid: String,
        envelope: String,
    }
}

/// The results that contradict the stored ones of a task, by hostname, then digest.
pub async fn conflicts(db: &Db, task_id: &str, after: &AfterConflict, limit: usize) -> Result<Vec<ResultConflict>> {
    let rows: Vec<ConflictRow> = read!(db, c => sqlx::query_as(
        "select hostname, digest, received_at, keyid, envelope from result_conflicts
         where task_id = ? and (hostname > ? or (hostname = ? and digest > ?)) order by hostname, digest limit ?")
        .bind(task_id).bind(&after.0).bind(&after.0).bind(&after.1).bind(limit as i64).fetch_all(c).await)?;
    rows.into_iter().map(ConflictRow::shown).collect()
}

impl ConflictRow {
    fn shown(self) -> Result<ResultConflict> {
        let (digest, keyid) = (self.digest.clone(), self.keyid.clone());
        let row = Row {
            hostname: self.hostname,
            exit_code: 0, // like the time, read out of the envelope
            finished_at: 0,
            digest: self.digest,
            received_at: self.received_at,
            keyid: self.keyid,
            envelope: self.envelope,
        };
        Ok(ResultConflict { result: row.shown()?, digest, keyid })
    }
}

/// Where a page of results starts: after this time and hostname.
pub type After = (i64, String);

async fn rows(db: &Db, task_id: &str, after: &After, limit: usize) -> Result<Vec<Row>> {
    Ok(read!(db, c => sqlx::query_as(
        "select hostname, exit_code, finished_at, received_at, digest, keyid, envelope from results
         where task_id = ? and (finished_at > ? or (finished_at = ? and hostname > ?))
         order by finished_at, hostname limit ?")
        .bind(task_id).bind(after.0).bind(after.0).bind(&after.1).bind(limit as i64).fetch_all(c).await)?)
}

/// A task's results by time, then hostname.
pub async fn page(db: &Db, task_id: &str, after: &After, limit: usize) -> Result<Vec<TaskResult>> {
    let rows = rows(db, task_id, after, limit).await?;
    let bare: Vec<Key> =
        rows.iter().filter(|row| row.is_bare()).map(|row| (task_id.to_owned(), row.hostname.clone())).collect();
    let mut ends = super::invocation::ends(db, &bare).await?;
    let shown = |row: Row| match row.is_bare() {
        true => {
            let end = ends.remove(&(task_id.to_owned(), row.hostname.clone()));
            row.shown_bare(task_id, end)
        }
        false => row.shown(),
    };
    rows.into_iter().map(shown).collect()
}

/// The same results as they were signed, with the keys that check them.
pub async fn evidence(db: &Db, task_id: &str, after: &After, limit: usize) -> Result<Vec<(After, ResultEvidence)>> {
    let rows = rows(db, task_id, after, limit).await?;
    let keyids: Vec<_> = rows.iter().map(|row| row.keyid.as_str()).collect();
    let keys = super::key::by_id(db, &keyids).await?;
    let hosts: Vec<_> = rows.iter().map(|row| (task_id.to_owned(), row.hostname.clone())).collect();
    let mut proofs = super::invocation::proofs(db, &hosts).await?;
    let mut evidence = Vec::with_capacity(rows.len());
    for (row, host) in rows.into_iter().zip(&hosts) {
        let key = keys.iter().find(|key| key.keyid() == row.keyid).cloned().map(KeyRow::shown);
        let key = key.ok_or_else(|| Error::internal("a result without its key"))??;
        let (wave, proof) = proofs.remove(host).ok_or_else(|| Error::internal("a result without its invocation"))?;
        evidence.push((
            (row.finished_at, row.hostname.clone()),
            ResultEvidence {
                hostname: row.hostname,
                wave,
                keyid: row.keyid,
                algorithm: key.algorithm,
                public_key_pem: key.public_key_pem,
                proof,
                envelope: match row.envelope {
                    bare if bare.is_empty() => None,
                    envelope => Some(RawValue::from_string(envelope).map_err(Error::internal)?),
                },
                digest: Some(row.digest),
            },
        ));
    }
    Ok(evidence)
}
