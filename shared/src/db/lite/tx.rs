//! A transaction on a SQLite file, in as few trips as its answers allow: statements whose outcome
//! nobody looks at wait and travel with the next one that is looked at, or with the commit. Until the
//! first of them is sent, others may write.
//!
//! Dropped before its commit, or failed in the middle, it is undone by whoever writes next.

use futures::TryStreamExt as _;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{Either, Error, Executor as _, FromRow, QueryBuilder, Sqlite};

use super::connections::{Writer, WriterGuard};
use super::disk::Place;
use super::{HARD, built, built_as, is_short};

/// Trips that wait for a later statement or the commit; more are sent at once, so that a large task
/// does not gather in memory.
const WAITING_TRIPS_MAX: usize = 16;

/// An open transaction.
pub struct LiteTx {
    writer: Writer,
    /// The writing connection, from the first trip on.
    held: Option<WriterGuard>,
    /// What has not been sent yet: a trip each.
    waiting: Vec<Statements>,
    /// Something was sent and did not come to its end, so what waited behind it was never done.
    broken: bool,
    /// It has no statement yet.
    is_idle: bool,
    /// Its commit must reach the disk.
    is_hard: bool,
    place: Place,
}

type Statements = QueryBuilder<Sqlite>;

impl LiteTx {
    pub(super) fn new(writer: Writer, mode: &'static str, place: Place) -> Self {
        let mut begin = QueryBuilder::new(mode);
        begin.push("begin immediate");
        Self { writer, held: None, waiting: vec![begin], is_idle: true, broken: false, is_hard: mode == HARD, place }
    }

    /// Adds a statement whose outcome nobody looks at. If it fails, whatever it travels with fails.
    ///
    /// # Errors
    /// Only when so much waits that it is sent now, and that fails.
    pub async fn later(&mut self, statement: impl FnOnce(&mut Statements)) -> sqlx::Result<()> {
        self.add(statement);
        if self.waiting.len() > WAITING_TRIPS_MAX {
            self.send().await?;
        }
        Ok(())
    }

    fn add(&mut self, statement: impl FnOnce(&mut Statements)) {
        self.is_idle = false;
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
        self.add(statement);
        self.send().await
    }

    /// Runs a query, after the statements that wait, and returns its rows.
    pub async fn rows<T>(&mut self, query: impl FnOnce(&mut Statements)) -> sqlx::Result<Vec<T>>
    where
        T: for<'r> FromRow<'r, SqliteRow> + Send + Unpin,
    {
        self.add(query);
        let last = self.waiting.pop();
        self.send().await?;
        let Some(mut last) = last else { return Ok(Vec::new()) };
        self.broken = true;
        let rows = built_as(&mut last).fetch_all(self.begun().await?.connection()?).await?;
        self.broken = false;
        Ok(rows)
    }

    /// The connection, once what waits has been run.
    pub async fn connection(&mut self) -> sqlx::Result<&mut SqliteConnection> {
        self.is_idle = false;
        self.send().await?;
        self.begun().await?.connection()
    }

    /// The writer, of which it is noted that a transaction is open.
    async fn begun(&mut self) -> sqlx::Result<&mut WriterGuard> {
        let held = match self.held.take() {
            Some(held) => held,
            None => self.writer.lock().await?,
        };
        let held = self.held.insert(held);
        held.set_begun(true);
        Ok(held)
    }

    /// Makes the transaction's changes hold.
    pub async fn commit(mut self) -> sqlx::Result<()> {
        if self.is_idle {
            return Ok(()); // nothing was asked of it
        }
        self.add(|query| _ = query.push("commit"));
        self.begun().await?;
        let place = self.place.clone();
        place.write(self.is_hard, self.send()).await?;
        self.begun().await?.set_begun(false);
        Ok(())
    }

    /// Sends what waits, and returns how many rows the last statement changed. After a failure it
    /// refuses: SQLite ends a transaction by itself on some, and what followed would run outside of it.
    async fn send(&mut self) -> sqlx::Result<u64> {
        if self.broken {
            return Err(Error::Protocol("a transaction of which a part failed cannot go on".to_owned()));
        }
        self.broken = true;
        let mut changed = 0;
        for mut trip in std::mem::take(&mut self.waiting) {
            let mut outcomes = self.begun().await?.connection()?.fetch_many(built(&mut trip));
            while let Some(outcome) = outcomes.try_next().await? {
                if let Either::Left(done) = outcome {
                    changed = done.rows_affected();
                }
            }
        }
        self.broken = false;
        Ok(changed)
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::db::Lite;

    async fn lite() -> (TempDir, Lite) {
        let folder = tempfile::tempdir().unwrap();
        let lite = Lite::open(&folder.path().join("x.db")).await.unwrap();
        lite.write(|query| _ = query.push("create table a (id integer primary key)")).await.unwrap();
        (folder, lite)
    }

    async fn ids(lite: &Lite) -> Vec<i64> {
        let mut reader = lite.reader().await.unwrap();
        let query = sqlx::query_as("select id from a order by id");
        let rows: Vec<(i64,)> = query.fetch_all(reader.connection().unwrap()).await.unwrap();
        rows.into_iter().map(|(id,)| id).collect()
    }

    fn insert(id: i64) -> impl FnOnce(&mut Statements) {
        move |query| _ = query.push("insert into a (id) values (").push_bind(id).push(")")
    }

    #[tokio::test]
    async fn what_waits_is_bounded_and_all_of_it_holds() {
        let (_folder, lite) = lite().await;
        let mut tx = lite.begin();
        for id in 0..20_000 {
            tx.later(insert(id)).await.unwrap();
            assert!(tx.waiting.len() <= WAITING_TRIPS_MAX, "{} trips wait", tx.waiting.len());
        }
        tx.commit().await.unwrap();
        assert_eq!(ids(&lite).await, (0..20_000).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn dropped_before_its_commit_it_leaves_nothing() {
        let (_folder, lite) = lite().await;
        let mut tx = lite.begin();
        tx.run(insert(1)).await.unwrap();
        tx.later(insert(2)).await.unwrap();
        drop(tx);
        lite.write(|query| _ = query.push("insert into a (id) values (3)")).await.unwrap();
        assert_eq!(ids(&lite).await, [3]);
    }

    /// SQLite itself ends a transaction on some failures; what follows must not run outside of it.
    #[tokio::test]
    async fn after_a_failure_nothing_more_is_done() {
        let (_folder, lite) = lite().await;
        let mut tx = lite.begin();
        tx.run(insert(1)).await.unwrap();
        assert!(tx.run(|query| _ = query.push("insert or rollback into a (id) values (1)")).await.is_err());
        assert!(tx.run(insert(2)).await.is_err());
        assert!(tx.rows::<(i64,)>(|query| _ = query.push("select id from a")).await.is_err());
        assert!(tx.commit().await.is_err());
        assert!(ids(&lite).await.is_empty());
        lite.write(|query| _ = query.push("insert into a (id) values (3)")).await.unwrap();
        assert_eq!(ids(&lite).await, [3]);
    }
}
