//! A transaction on a SQLite file, in as few trips as its answers allow: statements whose outcome
//! nobody looks at wait and travel with the next one that is looked at, or with the commit.
//!
//! Dropped before its commit, or failed in the middle, it is undone by whoever writes next.

use futures::TryStreamExt as _;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{Either, Error, Executor as _, FromRow, QueryBuilder, Sqlite};

use super::connections::WriterGuard;
use super::{built, built_as, is_short};

/// An open transaction.
pub struct LiteTx {
    writer: WriterGuard,
    /// What has not been sent yet: a trip each.
    waiting: Vec<Statements>,
    /// Something was sent and did not come to its end, so what waited behind it was never done.
    broken: bool,
}

type Statements = QueryBuilder<Sqlite>;

impl LiteTx {
    pub(super) fn new(writer: WriterGuard, mode: &'static str) -> Self {
        let mut begin = QueryBuilder::new(mode);
        begin.push("begin immediate");
        Self { writer, waiting: vec![begin], broken: false }
    }

    /// Adds a statement whose outcome nobody looks at. If it fails, whatever it travels with fails.
    pub fn later(&mut self, statement: impl FnOnce(&mut Statements)) {
        // Long texts travel alone: SQLite copies what is left of a text for each statement in it.
        match self.waiting.pop_if(|last| is_short(last)) {
            Some(mut last) => {
                statement(last.push("; "));
                self.waiting.push(last);
            }
            None => {
                let mut first = QueryBuilder::new("");
                statement(&mut first);
                self.waiting.push(first);
            }
        }
    }

    /// Runs a statement, after those that wait, and returns how many rows it changed.
    pub async fn run(&mut self, statement: impl FnOnce(&mut Statements)) -> sqlx::Result<u64> {
        self.later(statement);
        self.send().await
    }

    /// Runs a query, after the statements that wait, and returns its rows.
    pub async fn rows<T>(&mut self, query: impl FnOnce(&mut Statements)) -> sqlx::Result<Vec<T>>
    where
        T: for<'r> FromRow<'r, SqliteRow> + Send + Unpin,
    {
        self.later(query);
        let last = self.waiting.pop();
        self.send().await?;
        let Some(mut last) = last else { return Ok(Vec::new()) };
        self.writer.set_begun(true);
        self.broken = true;
        let rows = built_as(&mut last).fetch_all(self.writer.connection()?).await?;
        self.broken = false;
        Ok(rows)
    }

    /// The connection, once what waits has been run.
    pub async fn connection(&mut self) -> sqlx::Result<&mut SqliteConnection> {
        self.send().await?;
        self.writer.connection()
    }

    /// Makes the transaction's changes hold.
    pub async fn commit(mut self) -> sqlx::Result<()> {
        if self.broken {
            return Err(Error::Protocol("a transaction of which a part failed cannot be committed".to_owned()));
        }
        self.later(|query| {
            query.push("commit");
        });
        self.send().await?;
        self.writer.set_begun(false);
        Ok(())
    }

    /// Sends what waits, and returns how many rows the last statement changed.
    async fn send(&mut self) -> sqlx::Result<u64> {
        let broken = std::mem::replace(&mut self.broken, true);
        let mut changed = 0;
        for mut trip in std::mem::take(&mut self.waiting) {
            self.writer.set_begun(true);
            let mut outcomes = self.writer.connection()?.fetch_many(built(&mut trip));
            while let Some(outcome) = outcomes.try_next().await? {
                if let Either::Left(done) = outcome {
                    changed = done.rows_affected();
                }
            }
        }
        self.broken = broken;
        Ok(changed)
    }
}
