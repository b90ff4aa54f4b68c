//! Single numbers that the journal keeps by name.

use shared::db::LiteTx;
use shared::error::Result;

/// The number kept as `name`; `first` is kept, and returned, when there is none.
pub async fn recall_or(tx: &mut LiteTx, name: &str, first: i64) -> Result<i64> {
    let query = sqlx::query_as("select value from memory where name = ?");
    let kept: Option<(i64,)> = query.bind(name).fetch_optional(tx.connection().await?).await?;
    match kept {
        Some((value,)) => Ok(value),
        None => remember(tx, name, first).await.map(|()| first),
    }
}

/// Keeps a number.
pub async fn remember(tx: &mut LiteTx, name: &str, value: i64) -> Result<()> {
    let query = sqlx::query("insert or replace into memory (name, value) values (?, ?)");
    query.bind(name).bind(value).execute(tx.connection().await?).await?;
    Ok(())
}
