//! Tables that two programs touch, one file per table; a table's name is written in its file alone.
//!
//! A function that changes something takes the transaction it belongs to. A lookup that finds
//! nothing returns `None`: whether that is an error is for the caller to say.

pub mod dead_letter;
pub mod invocation;
pub mod key;
pub mod outbox;
pub mod removal;
pub mod result;
pub mod rollout;
pub mod server;
pub mod signing_key;
pub mod task;
pub mod wave;

use sqlx::{Database, Encode, QueryBuilder, Type};

use crate::error::{Error, Result};

/// Turns a duplicate key into the conflict that it means at this place.
pub(crate) fn on_unique<T>(outcome: sqlx::Result<T>, conflict: impl FnOnce() -> Error) -> Result<T> {
    outcome.map_err(|error| match error.as_database_error() {
        Some(database) if database.is_unique_violation() => conflict(),
        _ => error.into(),
    })
}

/// `(?, ?, …)`: these texts, of which there must be at least one.
pub(crate) fn these<DB: Database>(query: &mut QueryBuilder<DB>, texts: &[String])
where
    String: Type<DB> + for<'q> Encode<'q, DB>,
{
    query.push("(");
    let mut list = query.separated(", ");
    for text in texts {
        list.push_bind(text.clone());
    }
    query.push(")");
}

/// A stored word that no version of this program wrote.
pub(crate) fn inconsistent(table: &str, column: &str, value: &str) -> Error {
    Error::internal(format!("the table `{table}` holds `{value}` in `{column}`, which no version of Muster writes"))
}

/// `(task_id = ? and column in (…)) or …` for sorted keys: what every database finds by a primary key.
pub(crate) fn any_of<DB, T>(query: &mut QueryBuilder<DB>, task_id: &str, column: &str, keys: &[(String, T)])
where
    DB: Database,
    String: Type<DB> + for<'q> Encode<'q, DB>,
    T: Clone + Type<DB> + for<'q> Encode<'q, DB>,
{
    for (place, run) in keys.chunk_by(|one, other| one.0 == other.0).enumerate() {
        query.push(if place == 0 { "(" } else { " or (" }).push(task_id).push(" = ");
        query.push_bind(run[0].0.clone()).push(" and ").push(column).push(" in (");
        let mut list = query.separated(", ");
        for (_, value) in run {
            list.push_bind(value.clone());
        }
        query.push("))");
    }
}
