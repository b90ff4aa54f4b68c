//! Waves: what is signed. Each has one command over its own servers, with its own expiry; a task that
//! goes out at once is a single wave, number 1. A wave never changes but for its cancel, which is
//! added when somebody asks for one. The texts are long, so they stand apart from the tasks that
//! lists read.

use std::collections::BTreeSet;

use sqlx::QueryBuilder;

use super::{any_of, these};
use crate::db::{Db, Tx, row};
use crate::error::Result;
use crate::rules::invocation::Times;
use crate::{later, on, read};

/// A task and the number of its wave, from 1 on.
pub type Key = (String, i64);

/// Adds a wave, which nobody has cancelled yet.
pub async fn insert(tx: &mut Tx, wave: &Signed) -> Result<()> {
    later!(tx, query => {
        query.push("insert into waves (task_id, wave, expires_at, command_digest, keyid, envelope) ");
        query.push_values([wave], |mut row, wave| {
            row.push_bind(&wave.task_id).push_bind(wave.wave).push_bind(wave.expires_at)
                .push_bind(&wave.command_digest).push_bind(&wave.keyid).push_bind(&wave.envelope);
        });
    })?;
    Ok(())
}

row! {
    /// A wave's signed messages.
    #[derive(Clone, Debug)]
    pub struct Signed {
        /// The task.
        pub task_id: String,
        /// Which of its waves.
        pub wave: i64,
        /// Nothing of it starts after this, in milliseconds since 1970.
        pub expires_at: i64,
        /// The signed command.
        pub envelope: String,
        /// SHA-256 of its payload.
        pub command_digest: String,
        /// The key that signed it.
        pub keyid: String,
        /// The signed cancel, if somebody asked for one.
        pub cancel_envelope: Option<String>,
    }
}

macro_rules! columns {
    () => {
        "task_id, wave, expires_at, envelope, command_digest, keyid, cancel_envelope"
    };
}

/// The signed messages of those of the waves that exist.
pub async fn signed(db: &Db, waves: BTreeSet<Key>) -> Result<Vec<Signed>> {
    if waves.is_empty() {
        return Ok(Vec::new());
    }
    let waves: Vec<_> = waves.into_iter().collect();
    Ok(read!(db, c => {
        let mut query = QueryBuilder::new(concat!("select ", columns!(), " from waves where "));
        any_of(&mut query, "task_id", "wave", &waves);
        query.build_query_as().fetch_all(c).await
    })?)
}

/// The signed messages of a task's waves, from the first on.
pub async fn of_task(db: &Db, task_id: &str) -> Result<Vec<Signed>> {
    let query = concat!("select ", columns!(), " from waves where task_id = ? order by wave");
    Ok(read!(db, c => sqlx::query_as(query).bind(task_id).fetch_all(c).await)?)
}

/// How many waves of a task are out.
pub async fn count(tx: &mut Tx, task_id: &str) -> Result<i64> {
    let (count,): (i64,) = on!(tx, c => sqlx::query_as("select count(*) from waves where task_id = ?")
        .bind(task_id).fetch_one(c).await)?;
    Ok(count)
}

/// Adds the signed cancel to a wave.
pub async fn cancel(tx: &mut Tx, (task_id, wave): (&str, i64), envelope: &str) -> Result<()> {
    later!(tx, query => {
        query.push("update waves set cancel_envelope = ").push_bind(envelope);
        query.push(" where task_id = ").push_bind(task_id).push(" and wave = ").push_bind(wave);
    })?;
    Ok(())
}

/// What never changes about a wave, as far as the pipeline needs it.
#[derive(Clone, Debug)]
pub struct Facts {
    command_digest: String,
    times: Times,
}

impl Facts {
    /// The digest of a wave's command, when the wave expires, and the task's timeout in seconds.
    pub(super) fn new(command_digest: String, expires_at: i64, timeout: i64) -> Self {
        Self { command_digest, times: Times::new(expires_at, timeout) }
    }

    /// SHA-256 of the command's payload.
    pub fn command_digest(&self) -> &str {
        &self.command_digest
    }

    /// The times that deadlines follow from.
    pub const fn times(&self) -> Times {
        self.times
    }
}

/// Removes the waves of these tasks.
pub async fn delete(tx: &mut Tx, task_ids: &[String]) -> Result<()> {
    if task_ids.is_empty() {
        return Ok(());
    }
    Ok(later!(tx, query => { these(query.push("delete from waves where task_id in "), task_ids); })?)
}

/// The digest of a task's first command, if there is such a task.
pub async fn first_digest(tx: &mut Tx, task_id: &str) -> Result<Option<String>> {
    let digest: Option<(String,)> = on!(tx, c => sqlx::query_as(
        "select command_digest from waves where task_id = ? order by wave limit 1")
        .bind(task_id).fetch_optional(c).await)?;
    Ok(digest.map(|(digest,)| digest))
}
