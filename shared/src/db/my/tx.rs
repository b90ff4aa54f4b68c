//! A transaction on MySQL. Each statement is a trip of its own, so "later" is now; a failure tells
//! itself at once.
//!
//! Dropped before its commit, its connection is closed, and the database undoes it.

use sqlx::mysql::{MySqlConnection, MySqlRow};
use sqlx::{Executor as _, FromRow, MySql, QueryBuilder};

use super::{Held, Timed, built, built_as, in_time};

/// An open transaction.
pub struct MyTx {
    held: Held,
    is_committed: bool,
}

impl MyTx {
    pub(super) async fn begin(held: Held) -> sqlx::Result<Self> {
        let mut tx = Self { held, is_committed: false };
        tx.execute("start transaction").await?;
        Ok(tx)
    }

    /// The connection, for a statement that must be given its time with [`in_time`].
    pub fn connection(&mut self) -> sqlx::Result<&mut MySqlConnection> {
        self.held.connection()
    }

    /// Takes the outcome of such a statement.
    pub fn judge<T>(&mut self, outcome: Timed<T>) -> sqlx::Result<T> {
        self.held.judge(outcome)
    }

    /// Runs a statement whose outcome nobody looks at.
    pub async fn later(&mut self, statement: impl FnOnce(&mut QueryBuilder<MySql>)) -> sqlx::Result<()> {
        self.run(statement).await.map(drop)
    }

    /// Runs a statement, and returns how many rows it changed.
    pub async fn run(&mut self, statement: impl FnOnce(&mut QueryBuilder<MySql>)) -> sqlx::Result<u64> {
        let mut query = QueryBuilder::new("");
        statement(&mut query);
        let outcome = in_time(built(&mut query).execute(self.connection()?)).await;
        Ok(self.judge(outcome)?.rows_affected())
    }

    /// Runs a query, and returns its rows.
    pub async fn rows<T>(&mut self, query: impl FnOnce(&mut QueryBuilder<MySql>)) -> sqlx::Result<Vec<T>>
    where
        T: for<'r> FromRow<'r, MySqlRow> + Send + Unpin,
    {
        let mut built = QueryBuilder::new("");
        query(&mut built);
        let outcome = in_time(built_as(&mut built).fetch_all(self.connection()?)).await;
        self.judge(outcome)
    }

    /// Makes the transaction's changes hold.
    pub async fn commit(mut self) -> sqlx::Result<()> {
        self.execute("commit").await?;
        self.is_committed = true;
        Ok(())
    }

    async fn execute(&mut self, statement: &'static str) -> sqlx::Result<()> {
        let outcome = in_time(self.connection()?.execute(statement)).await;
        self.judge(outcome).map(drop)
    }
}

impl Drop for MyTx {
    fn drop(&mut self) {
        if !self.is_committed {
            self.held.close();
        }
    }
}
