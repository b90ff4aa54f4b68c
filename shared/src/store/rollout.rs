//! Roll-outs: a row for each task of which some servers are still held back, with what the next wave
//! follows from. The row is locked by whoever releases or gives up what is held, so that of two only
//! one does; when nothing is held any more it goes.

use crate::db::{Db, Tx, row};
use crate::error::Result;
use crate::{later, read, rows};

row! {
    /// How far a task is rolled out.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Rollout {
        /// The task.
        pub task_id: String,
        /// How many servers have the command at a time.
        pub max_concurrency: i64,
        /// How many may not succeed before the rest is spared.
        pub max_errors: i64,
        /// How long each wave may wait for its servers, in seconds.
        pub expires_in: i64,
        /// How many servers are held back.
        pub held: i64,
        /// The last wave that went out.
        pub wave: i64,
        /// The last server of that wave; those behind it in the alphabet are held.
        pub released_to: String,
    }
}

/// Adds a roll-out.
pub async fn insert(tx: &mut Tx, rollout: &Rollout) -> Result<()> {
    later!(tx, query => {
        query.push("insert into rollouts (task_id, max_concurrency, max_errors, expires_in, held, wave, released_to) ");
        query.push_values([rollout], |mut row, rollout| {
            row.push_bind(rollout.task_id.as_str()).push_bind(rollout.max_concurrency).push_bind(rollout.max_errors)
                .push_bind(rollout.expires_in).push_bind(rollout.held).push_bind(rollout.wave)
                .push_bind(rollout.released_to.as_str());
        });
    })?;
    Ok(())
}

/// Roll-outs by task, those after `after`.
pub async fn page(db: &Db, after: &str, limit: usize) -> Result<Vec<Rollout>> {
    Ok(read!(db, c => sqlx::query_as(
        "select task_id, max_concurrency, max_errors, expires_in, held, wave, released_to from rollouts
         where task_id > ? order by task_id limit ?")
        .bind(after).bind(limit as i64).fetch_all(c).await)?)
}

/// Reads and locks a task's roll-out, if there is one still.
pub async fn lock(tx: &mut Tx, task_id: &str) -> Result<Option<Rollout>> {
    let for_update = tx.for_update();
    let found: Vec<Rollout> = rows!(tx, query => {
        query.push("select task_id, max_concurrency, max_errors, expires_in, held, wave, released_to from rollouts");
        query.push(" where task_id = ").push_bind(task_id).push(for_update);
    })?;
    Ok(found.into_iter().next())
}

/// Notes that a wave went out.
pub async fn advance(tx: &mut Tx, rollout: &Rollout) -> Result<()> {
    if rollout.held == 0 {
        return delete(tx, &rollout.task_id).await;
    }
    later!(tx, query => {
        query.push("update rollouts set held = ").push_bind(rollout.held);
        query.push(", wave = ").push_bind(rollout.wave);
        query.push(", released_to = ").push_bind(rollout.released_to.as_str());
        query.push(" where task_id = ").push_bind(rollout.task_id.as_str());
    })?;
    Ok(())
}

/// Forgets a roll-out: nothing is held any more.
pub async fn delete(tx: &mut Tx, task_id: &str) -> Result<()> {
    later!(tx, query => {
        query.push("delete from rollouts where task_id = ").push_bind(task_id);
    })?;
    Ok(())
}
