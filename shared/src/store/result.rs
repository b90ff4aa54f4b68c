//! Results: what agents signed, one a host. Insert-only; the envelope is kept byte for byte, and
//! what people read (output, status, times) is read out of it, so the two cannot disagree.

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use sqlx::QueryBuilder;

use super::invocation::Key;
use super::key::KeyRow;
use crate::clock::Time;
use crate::contract::signed::ResultReport;
use crate::contract::task::{ResultEvidence, TaskResult};
use crate::db::{Db, Tx, row};
use crate::error::{Error, Result};
use crate::rules::limits::INSERT_ROWS;
use crate::sign::{Verified, stored_payload};
use crate::{later, on, read};

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
                "insert into results (task_id, hostname, exit_code, finished_at, received_at, digest, keyid, envelope) ");
            query.push_values(&rows, |mut row, (result, at, envelope)| {
                let body = result.body();
                row.push_bind(&body.task_id).push_bind(&body.iss).push_bind(body.exit_code).push_bind(body.finished_at.0)
                    .push_bind(at.0).push_bind(result.digest()).push_bind(result.keyid()).push_bind(*envelope);
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

fn text(result: &Verified<ResultReport>) -> Result<&str> {
    std::str::from_utf8(result.json()).map_err(Error::internal)
}

row! {
    #[derive(Debug)]
    struct Row {
        hostname: String,
        finished_at: i64,
        received_at: i64,
        keyid: String,
        envelope: String,
    }
}

impl Row {
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
        })
    }
}

/// Where a page of results starts: after this time and hostname.
pub type After = (i64, String);

async fn rows(db: &Db, task_id: &str, after: &After, limit: usize) -> Result<Vec<Row>> {
    Ok(read!(db, c => sqlx::query_as(
        "select hostname, finished_at, received_at, keyid, envelope from results
         where task_id = ? and (finished_at > ? or (finished_at = ? and hostname > ?))
         order by finished_at, hostname limit ?")
        .bind(task_id).bind(after.0).bind(after.0).bind(&after.1).bind(limit as i64).fetch_all(c).await)?)
}

/// A task's results by time, then hostname.
pub async fn page(db: &Db, task_id: &str, after: &After, limit: usize) -> Result<Vec<TaskResult>> {
    rows(db, task_id, after, limit).await?.into_iter().map(Row::shown).collect()
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
        evidence.push((
            (row.finished_at, row.hostname.clone()),
            ResultEvidence {
                hostname: row.hostname,
                keyid: row.keyid,
                algorithm: key.algorithm,
                public_key_pem: key.public_key_pem,
                proof: proofs.remove(host).ok_or_else(|| Error::internal("a result without its invocation"))?,
                envelope: RawValue::from_string(row.envelope).map_err(Error::internal)?,
            },
        ));
    }
    Ok(evidence)
}
