//! Tables that two programs touch, one file per table; a table's name is written in its file alone.
//!
//! A function that changes something takes the transaction it belongs to. A lookup that finds
//! nothing returns `None`: whether that is an error is for the caller to say.

pub mod invocation;
pub mod key;
pub mod outbox;
pub mod result;
pub mod server;
pub mod signing_key;
pub mod task;

use crate::error::{Error, Result};

/// Turns a duplicate key into the conflict that it means at this place.
pub(crate) fn on_unique<T>(outcome: sqlx::Result<T>, conflict: impl FnOnce() -> Error) -> Result<T> {
    outcome.map_err(|error| match error.as_database_error() {
        Some(database) if database.is_unique_violation() => conflict(),
        _ => error.into(),
    })
}

/// A stored word that no version of this program wrote.
pub(crate) fn inconsistent(table: &str, column: &str, value: &str) -> Error {
    Error::internal(format!("the table `{table}` holds `{value}` in `{column}`, which no version of Muster writes"))
}
