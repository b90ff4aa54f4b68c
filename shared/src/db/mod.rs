//! The SQL seam. Which database it is, is known here, in [`lite`] and in [`my`] alone; a query
//! elsewhere is one text that the macros below run on whichever it is, and its rows are read into one
//! struct.
//!
//! There are two kinds of write. [`Db::begin`] commits to the disk: use it for what a caller or a
//! peer is told is safe. [`Db::begin_soft`] commits so that `kill -9` loses nothing, while a power
//! cut may take it back together with everything after it: use it for what is simply done again
//! then, such as leases, marks, and reports that the bus delivers again (the embedded bus settles in
//! the same file, after the store, so it cannot remember more than the store does). On MySQL how far
//! a commit reaches is a setting of the server, and both are the same.

pub mod lite;
mod migrate;
pub mod my;
mod row;

pub use lite::{Disk, Lite, LiteTx};
pub use my::{My, MyTx};
pub(crate) use row::row;

use sqlx::mysql::MySqlDatabaseError;

use crate::error::{Error, Kind, Result};

/// How often a transaction is tried that others are in the way of. Each time at least one of them
/// gets through.
const CONTENDED_TRIES_MAX: u32 = 5;

/// The database.
#[derive(Clone, Debug)]
pub enum Db {
    /// SQLite, for the embedded plane.
    Lite(Lite),
    /// MySQL or MariaDB, for services of their own.
    My(My),
}

/// An open transaction; dropped without [`Tx::commit`] it is undone.
pub enum Tx {
    /// SQLite's.
    Lite(LiteTx),
    /// MySQL's.
    My(MyTx),
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
            $crate::db::Tx::My(tx) => match tx.connection() {
                Ok($c) => {
                    let outcome = $crate::db::my::in_time(async { $body }).await;
                    tx.judge(outcome)
                }
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
            $crate::db::Tx::My(tx) => tx.later(|$query: &mut sqlx::QueryBuilder<sqlx::MySql>| $body).await,
        }
    };
}

/// Runs a statement, together with those added by [`later!`], and returns how many rows it changed.
#[macro_export]
macro_rules! run {
    ($tx:expr, $query:ident => $body:block) => {
        match $tx {
            $crate::db::Tx::Lite(tx) => tx.run(|$query: &mut sqlx::QueryBuilder<sqlx::Sqlite>| $body).await,
            $crate::db::Tx::My(tx) => tx.run(|$query: &mut sqlx::QueryBuilder<sqlx::MySql>| $body).await,
        }
    };
}

/// Runs a query, together with the statements added by [`later!`], and returns its rows.
#[macro_export]
macro_rules! rows {
    ($tx:expr, $query:ident => $body:block) => {
        match $tx {
            $crate::db::Tx::Lite(tx) => tx.rows(|$query: &mut sqlx::QueryBuilder<sqlx::Sqlite>| $body).await,
            $crate::db::Tx::My(tx) => tx.rows(|$query: &mut sqlx::QueryBuilder<sqlx::MySql>| $body).await,
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
            $crate::db::Db::My(my) => match my.connection().await {
                Ok(mut held) => match held.connection() {
                    Ok($c) => {
                        let outcome = $crate::db::my::in_time(async { $body }).await;
                        held.judge(outcome)
                    }
                    Err(error) => Err(error),
                },
                Err(error) => Err(error),
            },
        }
    };
}

/// Runs one changing statement outside any transaction, as durable as [`Db::begin_soft`], and then a
/// query over what it changed: `write_soft_then!(db, query => { query.push("update …"); }, query => { query.push("select …"); })`.
#[macro_export]
macro_rules! write_soft_then {
    ($db:expr, $write:ident => $written:block, $query:ident => $queried:block) => {
        match $db {
            $crate::db::Db::Lite(lite) => {
                let write = |$write: &mut sqlx::QueryBuilder<sqlx::Sqlite>| $written;
                lite.write_soft_then(write, |$query: &mut sqlx::QueryBuilder<sqlx::Sqlite>| $queried).await
            }
            $crate::db::Db::My(my) => {
                let write = |$write: &mut sqlx::QueryBuilder<sqlx::MySql>| $written;
                my.write_soft_then(write, |$query: &mut sqlx::QueryBuilder<sqlx::MySql>| $queried).await
            }
        }
    };
}

/// What a database's error says when it is not the statement's own fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The database is away, full or shut.
    Away,
    /// Another transaction was in the way.
    Contended,
}

/// Why a database failed, unless the statement itself is to blame.
pub fn trouble(error: &sqlx::Error) -> Option<Trouble> {
    match error {
        sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::WorkerCrashed => Some(Trouble::Away),
        sqlx::Error::Database(error) => match error.try_downcast_ref::<MySqlDatabaseError>() {
            Some(error) => my::trouble(error.number()),
            None => error.code().and_then(|code| lite::trouble(&code)),
        },
        _ => None,
    }
}

impl Db {
    /// Opens a transaction whose commit reaches the disk.
    pub async fn begin(&self) -> Result<Tx> {
        Ok(match self {
            Self::Lite(lite) => Tx::Lite(lite.begin()),
            Self::My(my) => Tx::My(my.begin().await?),
        })
    }

    /// Opens a transaction whose commit survives the process, though perhaps not a power cut.
    pub async fn begin_soft(&self) -> Result<Tx> {
        Ok(match self {
            Self::Lite(lite) => Tx::Lite(lite.begin_soft()),
            Self::My(my) => Tx::My(my.begin().await?),
        })
    }

    /// Brings the schema up to date, or refuses one that is newer than this program.
    pub async fn migrate(&self) -> Result<()> {
        let migrator = migrate::migrator();
        let outcome = match self {
            Self::Lite(lite) => migrator.run_direct(None, lite.writer().await?.connection()?, false).await,
            Self::My(my) => my.migrate(&migrator).await,
        };
        outcome.map_err(migrate::explain)
    }

    /// Refuses a database that was made in a way that Muster's texts do not fit in.
    pub async fn check_collation(&self) -> Result<()> {
        match self {
            Self::Lite(_) => Ok(()), // its texts are compared byte by byte
            Self::My(my) => my.check_collation().await,
        }
    }

    /// How many migrations have been applied.
    pub async fn migrations(&self) -> Result<i64> {
        let count = "select count(*) from _sqlx_migrations where success = true";
        let found = read!(self, c => sqlx::query_scalar(count).fetch_one(c).await).map_err(Error::from);
        found.or_else(|error| if migrate::is_missing(&error) { Ok(0) } else { Err(error) })
    }

    /// Refuses a schema that this program does not know: one that is older, newer, or another.
    pub async fn check(&self) -> Result<()> {
        let known = "select version, checksum from _sqlx_migrations where success = true order by version";
        let applied: Vec<(i64, Vec<u8>)> = read!(self, c => sqlx::query_as(known).fetch_all(c).await)
            .map_err(|error| migrate::unreadable(Error::from(error)))?;
        migrate::compare(&applied)
    }

    /// Does `work`, and does it again when another transaction was in its way.
    pub async fn persist<T, F>(&self, work: impl Fn() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let mut tries = 1;
        loop {
            match work().await {
                Err(error) if error.kind() == Kind::Contended && tries < CONTENDED_TRIES_MAX => tries += 1,
                outcome => return outcome,
            }
        }
    }

    /// How a statement that changes rows is told to change the first few of an order, where the
    /// database knows a way that does not look at all the others.
    pub const fn limits_updates(&self) -> bool {
        matches!(self, Self::My(_))
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
            Self::My(my) => my.close().await,
        }
    }
}

impl Tx {
    /// What a query ends with whose rows nobody else may change until the transaction ends. SQLite's
    /// transaction has locked the whole file already.
    pub const fn for_update(&self) -> &'static str {
        match self {
            Self::Lite(_) => "",
            Self::My(_) => " for update",
        }
    }

    /// Makes the transaction's changes hold.
    pub async fn commit(self) -> Result<()> {
        match self {
            Self::Lite(tx) => tx.commit().await?,
            Self::My(tx) => tx.commit().await?,
        }
        Ok(())
    }
}
