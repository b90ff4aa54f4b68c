//! A SQLite file, with one connection that writes and a few that read (WAL lets them go on at the
//! same time). One writer is not a limit but a fact of SQLite; waiting for it here is fair and needs
//! no polling. The plane's database, the in-process bus and an agent's journal are each such a file.
//!
//! Every call of a statement is a trip to the connection's own thread and back, and on a quiet machine
//! the two wake-ups of a trip cost more than most statements. So what belongs together travels
//! together: see [`LiteTx::later`].

mod connections;
pub mod disk;
mod tx;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sqlx::query::{Query, QueryAs};
use sqlx::sqlite::{
    SqliteArguments, SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteRow, SqliteSynchronous,
};
use sqlx::{ConnectOptions as _, Connection as _, FromRow, QueryBuilder, Sqlite};

use self::connections::{Reader, Readers, Writer, WriterGuard};
pub use self::disk::Disk;
use self::disk::Place;
pub use self::tx::LiteTx;
use super::Trouble;
use crate::error::{Error, Result};

/// Connections that read.
const READERS: u32 = 4;
/// How long a statement waits for another process's lock on the file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Rows that the reading thread may be ahead of us.
const ROWS_AHEAD: usize = 512;
/// Longer texts are not kept prepared (they have many rows, and rarely as many again), and nothing is
/// added to them.
const PREPARED_BYTES_MAX: usize = 4 * 1024;
/// What makes a commit reach the disk.
const HARD: &str = "pragma synchronous = full; ";
/// What makes a commit survive the process, though perhaps not a power cut.
const SOFT: &str = "pragma synchronous = normal; ";

/// A SQLite file.
#[derive(Clone, Debug)]
pub struct Lite {
    writer: Writer,
    readers: Arc<Readers>,
    place: Place,
}

impl Lite {
    /// Opens the file, making it when it is missing.
    ///
    /// # Errors
    /// A sentence that names the file: it cannot be read or written, or is no SQLite database.
    pub async fn open(path: &Path) -> Result<Self> {
        Self::open_on(path, &Disk::Real).await
    }

    /// The same on a disk of its own kind.
    pub async fn open_on(path: &Path, disk: &Disk) -> Result<Self> {
        Self::with_readers(path, READERS, disk).await
    }

    /// Opens a file that one task at a time uses, such as a journal.
    pub async fn open_small(path: &Path) -> Result<Self> {
        Self::open_small_on(path, &Disk::Real).await
    }

    /// The same on a disk of its own kind.
    pub async fn open_small_on(path: &Path, disk: &Disk) -> Result<Self> {
        Self::with_readers(path, 1, disk).await
    }

    async fn with_readers(path: &Path, readers: u32, disk: &Disk) -> Result<Self> {
        make_private(path)?;
        let mut options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY_TIMEOUT)
            .row_buffer_size(ROWS_AHEAD)
            .disable_statement_logging();
        if matches!(disk, Disk::Faulty(_)) {
            options = options.pragma("wal_autocheckpoint", "0");
        }
        let place = Place::new(disk, path);
        let explain = |error: sqlx::Error| unusable(path, error);
        let mut connection = options.connect().await.map_err(explain)?;
        // A file that is no database says so only when it is read.
        sqlx::query("select count(*) from sqlite_schema").execute(&mut connection).await.map_err(explain)?;
        let readers = Arc::new(Readers::new(options.read_only(true), readers, place.clone()));
        Ok(Self { writer: Writer::new(connection, place.clone()), readers, place })
    }

    /// Looks whether the file is sound (`pragma quick_check`), if there is one. Writes nothing, and
    /// disturbs nobody who uses it.
    ///
    /// # Errors
    /// A sentence that names the file: it is damaged, or cannot be read.
    pub async fn check(path: &Path) -> Result<()> {
        if !std::fs::metadata(path).is_ok_and(|meta| meta.len() > 0) {
            return Ok(()); // SQLite makes a new one of nothing
        }
        let explain = |error: sqlx::Error| unusable(path, error);
        let mut connection = Self::looking(path).connect().await.map_err(explain)?;
        let (said,): (String,) =
            sqlx::query_as("pragma quick_check(1)").fetch_one(&mut connection).await.map_err(explain)?;
        connection.close().await.map_err(explain)?;
        if said == "ok" { Ok(()) } else { Err(Error::unavailable(damaged(path)).because(said)) }
    }

    /// How to open the file for looking only.
    fn looking(path: &Path) -> SqliteConnectOptions {
        SqliteConnectOptions::new()
            .filename(path)
            .read_only(true)
            .busy_timeout(BUSY_TIMEOUT)
            .disable_statement_logging()
    }

    /// Opens the file, which must be there, for looking only: nothing is written, nobody is disturbed.
    ///
    /// # Errors
    /// As [`Lite::open`].
    pub async fn look(path: &Path) -> Result<SqliteConnection> {
        Self::looking(path).connect().await.map_err(|error| unusable(path, error))
    }

    /// What is wrong with the file, and what to do, in one sentence.
    pub fn complaint(path: &Path, error: &sqlx::Error) -> String {
        let code = error.as_database_error().and_then(|error| error.code()?.parse::<u32>().ok());
        let shown = path.display();
        match code.map(|code| code & 0xff) {
            Some(26 | 11) => damaged(path),
            Some(1) => {
                format!("{shown} was written by another version of Muster; run that one, or move it away ({error})")
            }
            Some(14) => format!("{shown} cannot be opened; check that its folder exists and that you may write there"),
            Some(13) => format!("{shown} cannot be written because its disk is full; make room there"),
            Some(10) => format!("{shown} cannot be written or read; see what is wrong with its disk ({error})"),
            Some(8) => format!("{shown} is read-only; make it and its folder writable"),
            _ => format!("{shown} cannot be used as a database: {error}"),
        }
    }

    /// Opens a transaction whose commit reaches the disk.
    pub fn begin(&self) -> LiteTx {
        LiteTx::new(self.writer.clone(), HARD, self.place.clone())
    }

    /// Opens a transaction whose commit survives the process, though perhaps not a power cut.
    pub fn begin_soft(&self) -> LiteTx {
        LiteTx::new(self.writer.clone(), SOFT, self.place.clone())
    }

    /// Runs one statement, a transaction of its own, that reaches the disk.
    pub async fn write(&self, statement: impl FnOnce(&mut QueryBuilder<Sqlite>) + Send) -> Result<()> {
        self.trip(HARD, statement).await
    }

    /// The same for a statement that must survive the process, though perhaps not a power cut.
    pub async fn write_soft(&self, statement: impl FnOnce(&mut QueryBuilder<Sqlite>) + Send) -> Result<()> {
        self.trip(SOFT, statement).await
    }

    /// A statement like that of [`Lite::write_soft`], and the rows of a query that sees what it did.
    pub async fn write_soft_then<T>(
        &self,
        statement: impl FnOnce(&mut QueryBuilder<Sqlite>) + Send,
        then: impl FnOnce(&mut QueryBuilder<Sqlite>) + Send,
    ) -> Result<Vec<T>>
    where
        T: for<'r> FromRow<'r, SqliteRow> + Send + Unpin,
    {
        let mut query = QueryBuilder::new(SOFT);
        statement(&mut query);
        query.push("; ");
        then(&mut query);
        let mut writer = self.writer.lock().await?;
        let written = built_as(&mut query).fetch_all(writer.connection()?);
        Ok(self.place.write(false, written).await?)
    }

    async fn trip(&self, mode: &'static str, statement: impl FnOnce(&mut QueryBuilder<Sqlite>)) -> Result<()> {
        let mut query = QueryBuilder::new(mode);
        statement(&mut query);
        // How many rows it changed is not to be had: the count includes what the pragma found.
        let mut writer = self.writer.lock().await?;
        let written = built(&mut query).execute(writer.connection()?);
        self.place.write(mode == HARD, written).await?;
        Ok(())
    }

    /// A connection for reading.
    pub async fn reader(&self) -> sqlx::Result<Reader> {
        Readers::take(&self.readers).await
    }

    /// The one connection for writing; for migrations.
    pub(super) async fn writer(&self) -> sqlx::Result<WriterGuard> {
        self.writer.lock().await
    }

    /// Whether it is being closed, or is closed.
    pub fn is_closed(&self) -> bool {
        self.readers.is_closed()
    }

    /// Closes the file.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

/// Makes the file for its owner alone; SQLite gives the files beside it the same mode.
fn make_private(path: &Path) -> Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let made = std::fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(path);
    match made {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(Error::unavailable(format!("{} cannot be made: {error}", path.display())).because(error))
        }
        _ => Ok(()),
    }
}

fn is_short(query: &QueryBuilder<Sqlite>) -> bool {
    query.sql().as_str().len() <= PREPARED_BYTES_MAX
}

/// What was built, kept prepared for the next time unless it is long.
fn built(query: &mut QueryBuilder<Sqlite>) -> Query<'_, Sqlite, SqliteArguments> {
    let short = is_short(query);
    query.build().persistent(short)
}

/// The same for a query with rows.
fn built_as<T: for<'r> FromRow<'r, SqliteRow>>(
    query: &mut QueryBuilder<Sqlite>,
) -> QueryAs<'_, Sqlite, T, SqliteArguments> {
    let short = is_short(query);
    query.build_query_as().persistent(short)
}

/// What a primary result code says of SQLite's surroundings: busy, locked, read-only, I/O error, corrupt,
/// full, cannot open (<https://www.sqlite.org/rescode.html>).
pub(super) fn trouble(code: &str) -> Option<Trouble> {
    let is_of_the_host = |code: &u32| matches!(code & 0xff, 5 | 6 | 8 | 10 | 11 | 13 | 14);
    code.parse().ok().filter(is_of_the_host).map(|_| Trouble::Away)
}

fn damaged(path: &Path) -> String {
    format!("{} is damaged or is not a Muster database; move it away or restore a backup", path.display())
}

fn unusable(path: &Path, error: sqlx::Error) -> Error {
    Error::unavailable(Lite::complaint(path, &error)).because(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A COMMIT that fails must cost its own transaction and no other.
    #[tokio::test]
    async fn a_failed_commit_does_not_stop_all_writing() {
        let folder = tempfile::tempdir().unwrap();
        let lite = Lite::open(&folder.path().join("x.db")).await.unwrap();
        let mut tx = lite.begin();
        sqlx::query("create table a (id integer primary key)").execute(tx.connection().await.unwrap()).await.unwrap();
        let b = "create table b (a integer references a (id) deferrable initially deferred)";
        sqlx::query(b).execute(tx.connection().await.unwrap()).await.unwrap();
        tx.commit().await.unwrap();
        let mut tx = lite.begin();
        sqlx::query("insert into b (a) values (7)").execute(tx.connection().await.unwrap()).await.unwrap();
        assert!(tx.commit().await.is_err(), "there is no such row in `a`");
        let mut tx = lite.begin();
        sqlx::query("insert into a (id) values (1)").execute(tx.connection().await.unwrap()).await.unwrap();
        tx.commit().await.unwrap();
        lite.write(|query| _ = query.push("insert into a (id) values (2)")).await.unwrap();
        let (rows,): (i64,) = sqlx::query_as("select count(*) from a")
            .fetch_one(lite.reader().await.unwrap().connection().unwrap())
            .await
            .unwrap();
        assert_eq!(rows, 2);
    }

    #[tokio::test]
    async fn nobody_else_may_read_it() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let lite = Lite::open(&folder.path().join("x.db")).await.unwrap();
        lite.write(|query| _ = query.push("create table a (id integer)")).await.unwrap();
        for name in ["x.db", "x.db-wal", "x.db-shm"] {
            let mode = std::fs::metadata(folder.path().join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
    }
}
