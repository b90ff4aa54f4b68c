//! Invocations: one task on one server. A state is changed only by [`advance`], which takes the
//! rows that [`lock`] read in the same transaction, asks the state machine, and moves the task's
//! counts along. Rows are locked in key order and each task is updated once, in order of its id, so
//! batches of reports neither deadlock nor let a count drift.

use std::collections::BTreeMap;

use sqlx::QueryBuilder;

use super::wave::{self, Facts};
use super::{any_of, task};
use crate::clock::Time;
use crate::contract::envelope::Proof;
use crate::contract::task::{Invocation, Task};
use crate::crash::{self, Point};
use crate::db::{Db, Tx, row};
use crate::error::{Error, Result};
use crate::metrics;
use crate::rules::invocation::{Event, Status, Times, next};
use crate::rules::limits::{INSERT_ROWS, VALIDITY_MAX};
use crate::rules::task::Counts;
use crate::{later, on, read, rows, run};

/// A task and a server.
pub type Key = (String, String);

/// Why a held invocation is still queued.
const HELD: &str = "held back until earlier servers are done";

/// Adds the queued invocations of a task's wave, with each server's inclusion proof.
pub async fn insert(tx: &mut Tx, wave: (&str, i64), times: Times, rows: &[(&str, Proof)], now: Time) -> Result<()> {
    let due = times.due(Status::Queued, now);
    let row = |(hostname, proof): &(&str, Proof)| ((*hostname).to_owned(), pack(proof));
    let rows: Vec<_> = rows.iter().map(row).collect();
    add(tx, (wave.0, Some(wave.1)), due, None, &rows, now).await
}

/// Adds the queued invocations of a task that are held back for a later wave, `deadline` being the
/// whole task's.
pub async fn hold(tx: &mut Tx, task_id: &str, deadline: Time, hostnames: &[String], now: Time) -> Result<()> {
    let rows: Vec<_> = hostnames.iter().map(|hostname| (hostname.clone(), Vec::new())).collect();
    add(tx, (task_id, None), Some(deadline), Some(HELD), &rows, now).await
}

async fn add(
    tx: &mut Tx,
    (task_id, wave): (&str, Option<i64>),
    due: Option<Time>,
    reason: Option<&str>,
    rows: &[(String, Vec<u8>)],
    now: Time,
) -> Result<()> {
    for chunk in rows.chunks(INSERT_ROWS) {
        later!(&mut *tx, query => {
            query.push("insert into invocations (task_id, wave, hostname, status, reason, due_at, proof, queued_at) ");
            query.push_values(chunk, |mut row, (hostname, proof)| {
                row.push_bind(task_id).push_bind(wave).push_bind(hostname).push_bind(Status::Queued.as_str())
                    .push_bind(reason).push_bind(due.map(|due| due.0)).push_bind(proof.as_slice()).push_bind(now.0);
            });
        })?;
    }
    metrics::invocations(Status::Queued, rows.len());
    Ok(())
}

/// Up to `limit` servers of a task that are held back, those after `after`.
pub async fn held(db: &Db, task_id: &str, after: &str, limit: i64) -> Result<Vec<String>> {
    let rows: Vec<(String,)> = read!(db, c => sqlx::query_as(
        "select hostname from invocations where task_id = ? and hostname > ? and status = 'queued' and wave is null
         order by hostname limit ?")
        .bind(task_id).bind(after).bind(limit).fetch_all(c).await)?;
    Ok(rows.into_iter().map(|(hostname,)| hostname).collect())
}

/// All servers of a task that are held back.
pub async fn all_held(tx: &mut Tx, task_id: &str) -> Result<Vec<String>> {
    let rows: Vec<(String,)> = on!(tx, c => sqlx::query_as(
        "select hostname from invocations where task_id = ? and status = 'queued' and wave is null order by hostname")
        .bind(task_id).fetch_all(c).await)?;
    Ok(rows.into_iter().map(|(hostname,)| hostname).collect())
}

/// Lets held invocations go with a wave. All of them must still be held: see [`super::rollout::lock`].
pub async fn release(tx: &mut Tx, wave: (&str, i64), times: Times, rows: &[(&str, Proof)], now: Time) -> Result<()> {
    let due = times.due(Status::Queued, now).map(|due| due.0);
    for chunk in rows.chunks(INSERT_ROWS) {
        let released = run!(&mut *tx, query => {
            query.push("update invocations set wave = ").push_bind(wave.1);
            query.push(", due_at = ").push_bind(due).push(", reason = null, proof = case hostname");
            for (hostname, proof) in chunk {
                query.push(" when ").push_bind(*hostname).push(" then ").push_bind(pack(proof));
            }
            query.push(" end where status = 'queued' and wave is null and task_id = ").push_bind(wave.0);
            query.push(" and hostname in (");
            let mut list = query.separated(", ");
            for (hostname, _) in chunk {
                list.push_bind(*hostname);
            }
            query.push(")");
        })?;
        if released != chunk.len() as u64 {
            return Err(Error::internal(format!(
                "{} servers of {} were to be released, {released} were",
                chunk.len(),
                wave.0
            )));
        }
    }
    Ok(())
}

/// A proof as it is stored: its index in 8 bytes, then its hashes in 32 each.
fn pack(proof: &Proof) -> Vec<u8> {
    let mut bytes = proof.index.to_be_bytes().to_vec();
    for hash in &proof.hashes {
        bytes.extend(hex::decode(hash).unwrap_or_default()); // our own tree wrote them
    }
    bytes
}

fn unpack(bytes: &[u8]) -> Result<Proof> {
    let broken = || super::inconsistent("invocations", "proof", &hex::encode(bytes));
    let (index, hashes) = bytes.split_first_chunk::<8>().ok_or_else(broken)?;
    if hashes.len() % 32 != 0 {
        return Err(broken());
    }
    Ok(Proof { index: u64::from_be_bytes(*index), hashes: hashes.chunks(32).map(hex::encode).collect() })
}

row! {
    #[derive(Debug)]
    struct Row {
        task_id: String,
        hostname: String,
        status: String,
        reason: Option<String>,
        attempts: i64,
        queued_at: i64,
        sent_at: Option<i64>,
        accepted_at: Option<i64>,
        running_at: Option<i64>,
        provisional_status: Option<String>,
        provisional_at: Option<i64>,
        finished_at: Option<i64>,
        exit_code: Option<i32>,
        wave: Option<i64>,
        expires_at: Option<i64>,
    }
}

impl Row {
    fn shown(self, timeout: i64, deadline: Time) -> Result<Invocation> {
        Ok(Invocation {
            status: status(&self.status)?,
            provisional_status: self.provisional_status.as_deref().map(status).transpose()?,
            task_id: self.task_id,
            hostname: self.hostname,
            reason: self.reason,
            exit_code: self.exit_code,
            wave: self.wave,
            deadline: self.expires_at.map_or(deadline, |at| Times::new(at, timeout).deadline()),
            attempts: self.attempts,
            queued_at: Time(self.queued_at),
            sent_at: self.sent_at.map(Time),
            accepted_at: self.accepted_at.map(Time),
            running_at: self.running_at.map(Time),
            provisional_at: self.provisional_at.map(Time),
            finished_at: self.finished_at.map(Time),
        })
    }
}

fn status(text: &str) -> Result<Status> {
    Status::parse(text).ok_or_else(|| super::inconsistent("invocations", "status", text))
}

/// A task's invocations by hostname, those after `after`. What was not sent has the task's own deadline.
pub async fn page(db: &Db, task: &Task, after: &str, limit: usize) -> Result<Vec<Invocation>> {
    let rows: Vec<Row> = read!(db, c => sqlx::query_as(
        "select i.task_id, i.hostname, i.status, i.reason, i.attempts, i.queued_at, i.sent_at, i.accepted_at, i.running_at,
                i.provisional_status, i.provisional_at, i.finished_at, r.exit_code, i.wave, w.expires_at
         from invocations i left join results r on r.task_id = i.task_id and r.hostname = i.hostname
         left join waves w on w.task_id = i.task_id and w.wave = i.wave
         where i.task_id = ? and i.hostname > ? order by i.hostname limit ?")
        .bind(&task.task_id).bind(after).bind(limit as i64).fetch_all(c).await)?;
    rows.into_iter().map(|row| row.shown(task.timeout, task.deadline)).collect()
}

/// The proofs of these invocations, each in the wave of its own.
pub async fn proofs(db: &Db, keys: &[Key]) -> Result<BTreeMap<Key, (i64, Proof)>> {
    let mut found = BTreeMap::new();
    for chunk in keys.chunks(INSERT_ROWS) {
        let rows: Vec<(String, String, i64, Vec<u8>)> = read!(db, c => {
            let mut query = QueryBuilder::new("select task_id, hostname, wave, proof from invocations where wave is not null and (");
            any_of(&mut query, "task_id", "hostname", chunk);
            query.push(")");
            query.build_query_as().fetch_all(c).await
        })?;
        for (task_id, hostname, wave, proof) in rows {
            found.insert((task_id, hostname), (wave, unpack(&proof)?));
        }
    }
    Ok(found)
}

/// Invocations as they stand, with what never changes about their waves, for [`advance`] in the same
/// transaction.
#[derive(Debug, Default)]
pub struct Locked {
    rows: BTreeMap<Key, Standing>,
    facts: BTreeMap<wave::Key, Facts>,
}

#[derive(Clone, Copy, Debug)]
struct Standing {
    status: Status,
    due_at: Option<Time>,
    wave: Option<i64>,
}

impl Locked {
    fn add(&mut self, row: LockedRow) -> Result<()> {
        let standing = Standing { status: status(&row.status)?, due_at: row.due_at.map(Time), wave: row.wave };
        if let (Some(wave), Some(digest), Some(at), Some(timeout)) =
            (row.wave, row.command_digest, row.expires_at, row.timeout)
        {
            self.facts.entry((row.task_id.clone(), wave)).or_insert_with(|| Facts::new(digest, at, timeout));
        }
        self.rows.insert((row.task_id, row.hostname), standing);
        Ok(())
    }

    /// Where an invocation stands; `None` when there is none.
    pub fn status(&self, key: &Key) -> Option<Status> {
        self.rows.get(key).map(|row| row.status)
    }

    /// Whether the watchdog has to decide it by now.
    pub fn is_due(&self, key: &Key, now: Time) -> bool {
        self.rows.get(key).and_then(|row| row.due_at).is_some_and(|due| due < now)
    }

    /// What never changes about the wave of a locked invocation; `None` when it never went out.
    pub fn facts(&self, key: &Key) -> Option<&Facts> {
        self.facts.get(&(key.0.clone(), self.rows.get(key)?.wave?))
    }

    /// When the watchdog has to look at what enters `status` now. What never went out has no times,
    /// and needs none, because it can only end.
    fn due(&self, task_id: &str, wave: Option<i64>, status: Status, now: Time) -> Result<Option<Time>> {
        if !status.is_open() {
            return Ok(None);
        }
        let facts = wave.and_then(|wave| self.facts.get(&(task_id.to_owned(), wave)));
        let facts = facts.ok_or_else(|| Error::internal("an invocation without its wave"))?;
        Ok(facts.times().due(status, now))
    }

    /// Whether it is held back for a later wave.
    pub fn is_held(&self, key: &Key) -> bool {
        self.rows.get(key).is_some_and(|row| row.wave.is_none() && row.status.is_open())
    }
}

row! {
    #[derive(Debug)]
    struct LockedRow {
        task_id: String,
        hostname: String,
        status: String,
        due_at: Option<i64>,
        wave: Option<i64>,
        command_digest: Option<String>,
        expires_at: Option<i64>,
        timeout: Option<i64>,
    }
}

/// Reads and locks those of the invocations that exist, in the order of their keys. What is looked up
/// beside them is not locked, so that no task is before its turn.
pub async fn lock(tx: &mut Tx, mut keys: Vec<Key>) -> Result<Locked> {
    keys.sort();
    keys.dedup();
    let mut locked = Locked::default();
    let for_update = tx.for_update();
    for chunk in keys.chunks(INSERT_ROWS) {
        let rows: Vec<LockedRow> = rows!(&mut *tx, query => {
            query.push(
                "select task_id, hostname, status, due_at, wave,
                        (select w.command_digest from waves w where w.task_id = i.task_id and w.wave = i.wave) command_digest,
                        (select w.expires_at from waves w where w.task_id = i.task_id and w.wave = i.wave) expires_at,
                        (select t.timeout from tasks t where t.task_id = i.task_id) timeout
                 from invocations i where ",
            );
            any_of(query, "task_id", "hostname", chunk);
            query.push(" order by task_id, hostname").push(for_update);
        })?;
        for row in rows {
            locked.add(row)?;
        }
    }
    Ok(locked)
}

/// Something that happened to an invocation, with a reason where the state alone does not say why.
#[derive(Clone, Debug)]
pub struct Change {
    /// Which one.
    pub key: Key,
    /// What happened.
    pub event: Event,
    /// Why.
    pub reason: Option<String>,
}

/// Rows that change alike, and so change in one statement.
type Group = ((String, Option<i64>), Status, Status, Option<String>);

/// Lets the state machine take `changes` in their order, stores what came of it and moves the
/// counts. Returns how many invocations changed.
pub async fn advance(
    tx: &mut Tx,
    locked: &Locked,
    changes: impl IntoIterator<Item = Change>,
    now: Time,
) -> Result<usize> {
    let groups = fold(locked, changes);
    let mut deltas: BTreeMap<&str, Counts> = BTreeMap::new();
    let mut changed = 0;
    for (((task_id, wave), from, to, reason), hostnames) in &groups {
        let due = locked.due(task_id, *wave, *to, now)?;
        store(tx, task_id, (*from, *to), reason.as_deref(), hostnames, (due, now)).await?;
        let delta = deltas.entry(task_id).or_default();
        hostnames.iter().for_each(|_| delta.shift(*from, *to));
        changed += hostnames.len();
        metrics::invocations(*to, hostnames.len());
    }
    crash::point(Point::StatesAdvanced);
    for (task_id, delta) in deltas {
        task::shift(tx, task_id, &delta).await?;
    }
    Ok(changed)
}

/// [`lock`] and [`advance`] in one, for changes that need no look at the rows before.
pub async fn apply(tx: &mut Tx, changes: Vec<Change>, now: Time) -> Result<usize> {
    let locked = lock(tx, changes.iter().map(|change| change.key.clone()).collect()).await?;
    advance(tx, &locked, changes, now).await
}

fn fold(locked: &Locked, changes: impl IntoIterator<Item = Change>) -> BTreeMap<Group, Vec<String>> {
    let mut folded: BTreeMap<Key, (Status, Option<String>)> = BTreeMap::new();
    for change in changes {
        let Some(before) = locked.status(&change.key) else { continue };
        let at = folded.get(&change.key).map_or(before, |(status, _)| *status);
        if let Some(to) = next(at, change.event) {
            folded.insert(change.key, (to, change.reason));
        }
    }
    let mut groups: BTreeMap<Group, Vec<String>> = BTreeMap::new();
    for ((task_id, hostname), (to, reason)) in folded {
        let key = (task_id, hostname);
        let Some(before) = locked.rows.get(&key) else { continue };
        groups.entry(((key.0, before.wave), before.status, to, reason)).or_default().push(key.1);
    }
    groups
}

async fn store(
    tx: &mut Tx,
    task_id: &str,
    (from, to): (Status, Status),
    reason: Option<&str>,
    hostnames: &[String],
    (due, now): (Option<Time>, Time),
) -> Result<()> {
    let at = |wanted: bool| wanted.then_some(now.0);
    for chunk in hostnames.chunks(INSERT_ROWS) {
        let moved = run!(&mut *tx, query => {
            query.push("update invocations set status = ").push_bind(to.as_str());
            query.push(", reason = ").push_bind(reason);
            query.push(", due_at = ").push_bind(due.map(|due| due.0));
            query.push(", sent_at = coalesce(sent_at, ").push_bind(at(to == Status::Sent));
            query.push("), accepted_at = coalesce(accepted_at, ").push_bind(at(to == Status::Accepted));
            query.push("), running_at = coalesce(running_at, ").push_bind(at(to == Status::Running));
            query.push("), provisional_status = coalesce(provisional_status, ")
                .push_bind(to.is_provisional().then_some(to.as_str()));
            query.push("), provisional_at = coalesce(provisional_at, ").push_bind(at(to.is_provisional()));
            query.push("), finished_at = ").push_bind(at(!to.is_open()));
            query.push(" where task_id = ").push_bind(task_id);
            query.push(" and status = ").push_bind(from.as_str());
            query.push(" and hostname in (");
            let mut list = query.separated(", ");
            for hostname in chunk {
                list.push_bind(hostname);
            }
            query.push(")");
        })?;
        if moved != chunk.len() as u64 {
            return Err(Error::internal(format!(
                "{} invocations of {task_id} should have moved, {moved} did",
                chunk.len()
            )));
        }
    }
    Ok(())
}

/// Up to `limit` invocations that the watchdog has to decide.
pub async fn due(db: &Db, now: Time, limit: usize) -> Result<Vec<Key>> {
    Ok(
        read!(db, c => sqlx::query_as("select task_id, hostname from invocations where due_at < ? order by due_at limit ?")
        .bind(now.0).bind(limit as i64).fetch_all(c).await)?,
    )
}

row! {
    /// What was sent to a server, and may have been lost with its queue.
    #[derive(Clone, Debug)]
    pub struct Sent {
        /// The task.
        pub task_id: String,
        /// Its wave.
        pub wave: i64,
        /// The span that made it.
        pub traceparent: String,
        status: String,
        timeout: i64,
        expires_at: i64,
        cancel_requested_at: Option<i64>,
    }
}

impl Sent {
    /// Until when its command is worth sending; `None` when the agent has it already.
    pub fn command_expires_at(&self) -> Option<Time> {
        (self.status == Status::Sent.as_str()).then_some(Time(self.expires_at))
    }

    /// Until when its cancel is worth sending; `None` when nobody asked for one.
    pub fn cancel_expires_at(&self) -> Option<Time> {
        let deadline = Times::new(self.expires_at, self.timeout).deadline();
        self.cancel_requested_at.map(|at| deadline.min(Time(at).plus(VALIDITY_MAX)))
    }
}

/// What was sent to a server and has no end yet.
pub async fn sent_to(tx: &mut Tx, hostname: &str) -> Result<Vec<Sent>> {
    Ok(on!(tx, c => sqlx::query_as(
        "select t.task_id, w.wave, t.traceparent, i.status, t.timeout, w.expires_at, t.cancel_requested_at
         from invocations i join tasks t on t.task_id = i.task_id join waves w on w.task_id = i.task_id and w.wave = i.wave
         where i.hostname = ? and i.status in ('sent', 'accepted', 'running', 'expired', 'lost')")
        .bind(hostname).fetch_all(c).await)?)
}

/// The servers that may still have to do with a task, each with its wave: no end is known, or it is
/// only guessed. Those held back are not among them.
pub async fn unfinished(tx: &mut Tx, task_id: &str) -> Result<Vec<(String, i64)>> {
    Ok(on!(tx, c => sqlx::query_as(
        "select hostname, wave from invocations where task_id = ? and wave is not null
         and status in ('queued', 'sent', 'accepted', 'running', 'expired', 'lost') order by hostname")
        .bind(task_id).fetch_all(c).await)?)
}

/// The servers of a task that did not succeed.
pub async fn unsuccessful(db: &Db, task_id: &str) -> Result<Vec<String>> {
    let rows: Vec<(String,)> = read!(db, c => sqlx::query_as(
        "select hostname from invocations where task_id = ? and status <> 'succeeded' order by hostname")
        .bind(task_id).fetch_all(c).await)?;
    Ok(rows.into_iter().map(|(hostname,)| hostname).collect())
}

/// Up to `limit` invocations of these tasks, in the order of their keys and locked.
pub async fn of_tasks(tx: &mut Tx, task_ids: &[String], limit: usize) -> Result<Vec<Key>> {
    let for_update = tx.for_update();
    Ok(rows!(tx, query => {
        super::these(query.push("select task_id, hostname from invocations where task_id in "), task_ids);
        query.push(" order by task_id, hostname limit ").push_bind(limit as i64).push(for_update);
    })?)
}

/// Removes invocations.
pub async fn delete(tx: &mut Tx, keys: &[Key]) -> Result<()> {
    if keys.is_empty() {
        return Ok(());
    }
    Ok(later!(tx, query => {
        any_of(query.push("delete from invocations where "), "task_id", "hostname", keys);
    })?)
}

/// How these ended, and why where the state alone does not say.
pub async fn ends(db: &Db, keys: &[Key]) -> Result<BTreeMap<Key, (Status, Option<String>)>> {
    let mut found = BTreeMap::new();
    for chunk in keys.chunks(INSERT_ROWS) {
        let rows: Vec<(String, String, String, Option<String>)> = read!(db, c => {
            let mut query = QueryBuilder::new("select task_id, hostname, status, reason from invocations where ");
            any_of(&mut query, "task_id", "hostname", chunk);
            query.build_query_as().fetch_all(c).await
        })?;
        for (task_id, hostname, text, reason) in rows {
            found.insert((task_id, hostname), (status(&text)?, reason));
        }
    }
    Ok(found)
}

/// Notes that sending these was tried in vain once more.
pub async fn count_attempts(tx: &mut Tx, keys: &[Key]) -> Result<()> {
    for chunk in keys.chunks(INSERT_ROWS) {
        later!(&mut *tx, query => {
            query.push("update invocations set attempts = attempts + 1 where ");
            any_of(query, "task_id", "hostname", chunk);
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proofs_are_stored_and_read_back() {
        let proof = Proof { index: 7, hashes: vec!["ab".repeat(32), "01".repeat(32)] };
        assert_eq!(unpack(&pack(&proof)).unwrap(), proof);
        assert!(unpack(b"short").is_err());
        assert!(unpack(&[0; 20]).is_err());
    }

    #[test]
    fn events_of_one_batch_are_folded() {
        let key = |host: &str| ("t".to_owned(), host.to_owned());
        let sent = Standing { status: Status::Sent, due_at: None, wave: Some(1) };
        let rows = BTreeMap::from([(key("a"), sent), (key("b"), sent)]);
        let locked = Locked { rows, facts: BTreeMap::new() };
        let change = |host: &str, event| Change { key: key(host), event, reason: None };
        let groups = fold(
            &locked,
            [
                change("a", Event::Running),
                change("a", Event::Accepted),
                change("b", Event::Running),
                change("nobody", Event::Running),
            ],
        );
        let expected = BTreeMap::from([(
            (("t".to_owned(), Some(1)), Status::Sent, Status::Running, None),
            vec!["a".to_owned(), "b".to_owned()],
        )]);
        assert_eq!(groups, expected);
    }
}
