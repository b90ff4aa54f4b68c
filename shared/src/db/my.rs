//! MySQL or MariaDB. Connections are made when they are first needed, so a service
//! starts, and says that it is not ready, while its database is still away.
//!
//! Nothing here waits for ever: a statement that is not answered in time costs its connection, which
//! is closed rather than given back, since its answer may still come. Transactions read what is
//! committed (`read committed`): with locks taken by key that is all Muster needs, and it locks no
//! gaps between rows.

mod connections;
mod tx;
mod upgrade;

use std::path::PathBuf;
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use sqlx::mysql::{MySqlArguments, MySqlConnectOptions, MySqlRow, MySqlSslMode};
use sqlx::query::{Query, QueryAs};
use sqlx::{Error, FromRow, MySql, QueryBuilder};
use tokio::time::error::Elapsed;
use tokio::time::timeout;

use self::connections::{Connections, Held};
pub use self::tx::MyTx;
use super::Trouble;
use crate::config::key::{DATABASE_CA_FILE, DATABASE_URL};
use crate::error::{self, Result};

/// Connections at most, unless told otherwise.
pub const CONNECTIONS_DEFAULT: u32 = 10;
/// How long a statement may take.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(20);
/// Longer texts are not kept prepared: they have many rows, and rarely as many again.
const PREPARED_BYTES_MAX: usize = 4 * 1024;

/// Where the database is. Its `Debug` does not show the password.
#[derive(Clone)]
pub struct Settings {
    /// `mysql://user:password@host:3306/name`.
    pub url: String,
    /// The CA that its certificate must come from.
    pub ca_file: Option<PathBuf>,
    /// The most connections.
    pub connections: u32,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings").field("ca_file", &self.ca_file).field("connections", &self.connections).finish()
    }
}

/// A MySQL or MariaDB database. Cheap to clone.
#[derive(Clone, Debug)]
pub struct My {
    connections: Arc<Connections>,
}

impl My {
    /// Takes the settings; connects to nothing yet.
    ///
    /// # Errors
    /// Bad input when the URL cannot be used.
    pub fn open(settings: &Settings) -> Result<Self> {
        Ok(Self { connections: Arc::new(Connections::new(options(settings)?, settings.connections)) })
    }

    /// Opens a transaction.
    pub async fn begin(&self) -> sqlx::Result<MyTx> {
        MyTx::begin(self.connection().await?).await
    }

    /// A connection for a statement of its own.
    pub async fn connection(&self) -> sqlx::Result<Held> {
        Connections::take(&self.connections).await
    }

    /// Runs a changing statement, and then, if it changed anything, a query, outside any transaction.
    pub async fn write_soft_then<T>(
        &self,
        write: impl FnOnce(&mut QueryBuilder<MySql>) + Send,
        then: impl FnOnce(&mut QueryBuilder<MySql>) + Send,
    ) -> Result<Vec<T>>
    where
        T: for<'r> FromRow<'r, MySqlRow> + Send + Unpin,
    {
        let (mut first, mut second) = (QueryBuilder::new(""), QueryBuilder::new(""));
        write(&mut first);
        then(&mut second);
        let mut held = self.connection().await?;
        let connection = held.connection()?;
        let outcome = in_time(async {
            match built(&mut first).execute(&mut *connection).await?.rows_affected() {
                0 => Ok(Vec::new()),
                _ => built_as(&mut second).fetch_all(connection).await,
            }
        })
        .await;
        Ok(held.judge(outcome)?)
    }

    /// Closes every connection.
    pub async fn close(&self) {
        self.connections.close().await;
    }
}

fn options(settings: &Settings) -> Result<MySqlConnectOptions> {
    let wrong =
        |_| error::Error::bad_input(format!("{} must be like mysql://user:password@host:3306/name", DATABASE_URL.name));
    if !settings.url.starts_with("mysql://") {
        return Err(wrong(Error::Protocol(String::new())));
    }
    let options = MySqlConnectOptions::from_str(&settings.url).map_err(wrong)?;
    if options.get_database().is_none_or(str::is_empty) {
        return Err(error::Error::bad_input(format!("{} must name a database after the host", DATABASE_URL.name)));
    }
    let options = options.charset("utf8mb4").collation("utf8mb4_bin").pipes_as_concat(false);
    let Some(ca) = &settings.ca_file else { return Ok(options) };
    let unreadable = |cause: std::io::Error| {
        let shown = ca.display();
        error::Error::bad_input(format!("{} names {shown}, which cannot be read: {cause}", DATABASE_CA_FILE.name))
    };
    let pem = std::fs::read(ca).map_err(unreadable)?;
    Ok(options.ssl_mode(MySqlSslMode::VerifyIdentity).ssl_ca_from_pem(pem))
}

/// An outcome, unless it took too long.
pub type Timed<T> = std::result::Result<sqlx::Result<T>, Elapsed>;

/// Gives a statement its time.
pub async fn in_time<T>(statement: impl Future<Output = sqlx::Result<T>>) -> Timed<T> {
    timeout(STATEMENT_TIMEOUT, statement).await
}

fn late() -> Error {
    Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, "the database did not answer in time"))
}

fn is_short(query: &QueryBuilder<MySql>) -> bool {
    query.sql().as_str().len() <= PREPARED_BYTES_MAX
}

/// What was built, kept prepared for the next time unless it is long.
fn built(query: &mut QueryBuilder<MySql>) -> Query<'_, MySql, MySqlArguments> {
    let short = is_short(query);
    query.build().persistent(short)
}

/// The same for a query with rows.
fn built_as<T: for<'r> FromRow<'r, MySqlRow>>(
    query: &mut QueryBuilder<MySql>,
) -> QueryAs<'_, MySql, T, MySqlArguments> {
    let short = is_short(query);
    query.build_query_as().persistent(short)
}

/// What an error says of its surroundings: <https://dev.mysql.com/doc/mysql-errors/8.0/en/server-error-reference.html>.
pub(super) fn trouble(number: u16) -> Option<Trouble> {
    match number {
        // Lock wait timeout, deadlock.
        1205 | 1213 => Some(Trouble::Contended),
        // Disk full, out of memory, too many connections, access denied, no database, shutdown, table full,
        // no such table, read-only (both), interrupted, timeouts, killed.
        1021 | 1037 | 1038 | 1040 | 1044 | 1045 | 1049 | 1053 | 1114 | 1146 | 1203 | 1290 | 1317 | 1836 | 1927
        | 1969 | 3024 => Some(Trouble::Away),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(url: &str) -> String {
        let settings = Settings { url: url.to_owned(), ca_file: None, connections: 2 };
        options(&settings).unwrap_err().detail().to_owned()
    }

    #[test]
    fn a_wrong_url_is_named_and_never_shown() {
        for url in [
            "",
            "mysql",
            "postgres://u:geheim@h/d",
            "mysql://u:geheim@h:x/d",
            "mysql://u:geheim@h",
            "mysql://u:geheim@h/",
        ] {
            let said = refusal(url);
            assert!(said.contains("MUSTER_DATABASE_URL") && !said.contains("geheim"), "{url}: {said}");
        }
    }

    #[test]
    fn a_ca_that_cannot_be_read_is_named() {
        let settings =
            Settings { url: "mysql://h/d".to_owned(), ca_file: Some("/nowhere/ca.pem".into()), connections: 2 };
        assert!(options(&settings).unwrap_err().detail().contains("/nowhere/ca.pem"));
    }
}
