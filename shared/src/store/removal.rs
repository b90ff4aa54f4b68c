//! Removals: tasks that are gone for everybody, and whose invocations and results are still there.
//!
//! A task's row goes first, in the transaction that writes its removal. From then on nobody finds the
//! task: no list, no lookup, no idempotency key, and a late report about it names an unknown task. So
//! no query needs a word about half-removed tasks, and none can forget it. What hangs on the task goes in
//! batches after that, and the removal last, so that whoever comes after a crash knows what is left.

use crate::db::{Db, Tx};
use crate::error::Result;
use crate::rules::limits::INSERT_ROWS;
use crate::{later, read};

/// Notes tasks of which more has to be removed.
pub async fn insert(tx: &mut Tx, task_ids: &[String]) -> Result<()> {
    for chunk in task_ids.chunks(INSERT_ROWS) {
        later!(&mut *tx, query => {
            query.push("insert into removals (task_id) ");
            query.push_values(chunk, |mut row, task_id| _ = row.push_bind(task_id));
        })?;
    }
    Ok(())
}

/// Up to `limit` of them, from the oldest task on.
pub async fn oldest(db: &Db, limit: usize) -> Result<Vec<String>> {
    let rows: Vec<(String,)> = read!(db, c => sqlx::query_as("select task_id from removals order by task_id limit ?")
        .bind(limit as i64).fetch_all(c).await)?;
    Ok(rows.into_iter().map(|(task_id,)| task_id).collect())
}

/// Forgets those of which nothing is left.
pub async fn delete(tx: &mut Tx, task_ids: &[String]) -> Result<()> {
    if task_ids.is_empty() {
        return Ok(());
    }
    Ok(later!(tx, query => { super::these(query.push("delete from removals where task_id in "), task_ids); })?)
}
