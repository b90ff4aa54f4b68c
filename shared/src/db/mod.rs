//! The SQL seam. Which database it is, is known here and in [`lite`] alone; a query elsewhere is
//! one text that the macros below run on whichever it is, and its rows are read into one struct.
//!
//! There are two kinds of write. [`Db::begin`] commits to the disk: use it for what a caller or a
//! peer is told is safe. [`Db::begin_soft`] commits so that `kill -9` loses nothing, while a power
//! cut may take it back together with everything after it: use it for what is simply done again
//! then, such as leases, marks, and reports that the bus delivers again (the embedded bus settles in
//! the same file, after the store, so it cannot remember more than the store does).

pub mod lite;
mod migrate;
mod row;

pub use lite::{Lite, LiteTx};
pub(crate) use row::row;

use crate::error::Result;

/// The database.
#[derive(Clone, Debug)]
pub enum Db {
    /// SQLite, for the embedded plane.
    Lite(Lite),
}

/// An open transaction; dropped without [`Tx::commit`] it is undone.
pub enum Tx {
    /// SQLite's.
    Lite(LiteTx),
}

/// Runs a query inside a transaction: `on!(tx, c => sqlx::query("…").execute(c).await)`.
#[macro_export]
macro_rules! on {
    ($tx:expr, $c:ident => $body:expr) => {
        match $tx {
            $crate::db::Tx::Lite(tx) => match tx.connection().await {
                Ok($c) => $body,
                Err(error) => Err(error),
            },
        }
    };
}

/// Adds a statement whose outcome nobody looks at; if it fails, a later statement of the transaction
/// or its commit does: `later!(tx, query => { query.push("…"); })?`. It saves a trip to the database.
#[macro_export]
macro_rules! later {
    ($tx:expr, $query:ident => $body:block) => {
        match $tx {
            $crate::db::Tx::Lite(tx) => tx.later(|$query: &mut sqlx::QueryBuilder<sqlx::Sqlite>| $body).await,
        }
    };
}

/// Runs a statement, together with those added by [`later!`], and returns how many rows it changed.
#[macro_export]
macro_rules! run {
    ($tx:expr, $query:ident => $body:block) => {
        match $tx {
            $crate::db::Tx::Lite(tx) => tx.run(|$query: &mut sqlx::QueryBuilder<sqlx::Sqlite>| $body).await,
        }
    };
}

/// Runs a query, together with the statements added by [`later!`], and returns its rows.
#[macro_export]
macro_rules! rows {
    ($tx:expr, $query:ident => $body:block) => {
        match $tx {
            $crate::db::Tx::Lite(tx) => tx.rows(|$query: &mut sqlx::QueryBuilder<sqlx::Sqlite>| $body).await,
        }
    };
}

/// Runs a reading query outside any transaction: `read!(db, c => sqlx::query_as("…").fetch_all(c).await)`.
#[macro_export]
macro_rules! read {
    ($db:expr, $c:ident => $body:expr) => {
        match $db {
            $crate::db::Db::Lite(lite) => match lite.reader().await {
                Ok(mut reader) => match reader.connection() {
                    Ok($c) => $body,
                    Err(error) => Err(error),
                },
                Err(error) => Err(error),
            },
        }
    };
}

/// Runs one changing statement outside any transaction, as durable as [`Db::begin_soft`], and then a
/// query: `write_soft_then!(db, query => { query.push("update …"); }, query => { query.push("select …"); })`.
#[macro_export]
macro_rules! write_soft_then {
    ($db:expr, $write:ident => $written:block, $query:ident => $queried:block) => {
        match $db {
            $crate::db::Db::Lite(lite) => {
                let write = |$write: &mut sqlx::QueryBuilder<sqlx::Sqlite>| $written;
                lite.write_soft_then(write, |$query: &mut sqlx::QueryBuilder<sqlx::Sqlite>| $queried).await
            }
        }
    };
}

impl Db {
    /// Opens a transaction whose commit reaches the disk.
    pub async fn begin(&self) -> Result<Tx> {
        Ok(match self {
            Self::Lite(lite) => Tx::Lite(lite.begin().await?),
        })
    }

    /// Opens a transaction whose commit survives the process, though perhaps not a power cut.
    pub async fn begin_soft(&self) -> Result<Tx> {
        Ok(match self {
            Self::Lite(lite) => Tx::Lite(lite.begin_soft().await?),
        })
    }

    /// Brings the schema up to date, or refuses one that is newer than this program.
    pub async fn migrate(&self) -> Result<()> {
        let migrator = migrate::migrator();
        let outcome = match self {
            Self::Lite(lite) => migrator.run_direct(None, lite.writer().await?.connection()?, false).await,
        };
        outcome.map_err(migrate::explain)
    }

    /// Whether the database answers, and can be written.
    pub async fn ping(&self) -> Result<()> {
        read!(self, c => sqlx::query("select 1").execute(c).await.map(drop))?;
        let mut tx = self.begin_soft().await?;
        on!(&mut tx, _c => Ok::<_, sqlx::Error>(()))?; // it is begun only with its first statement
        tx.commit().await
    }

    /// Closes every connection, writing back what is still in SQLite's log.
    pub async fn close(&self) {
        match self {
            Self::Lite(lite) => lite.close().await,
        }
    }
}

impl Tx {
    /// Makes the transaction's changes hold.
    pub async fn commit(self) -> Result<()> {
        match self {
            Self::Lite(tx) => tx.commit().await?,
        }
        Ok(())
    }
}
