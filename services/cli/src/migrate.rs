//! `muster migrate`: the step before the services start. It may run in several places at once: one of
//! them does the work, under a lock of the database, and the others find it done.
//!
//! The database's address holds a password, so it comes from the settings and never from the command
//! line, which others can read.

use std::time::{Duration, Instant};

use shared::config::Source;
use shared::db::Db;
use shared::error::{Error, Kind, Result, chain};
use shared::{run, telemetry};
use tokio::time::{sleep, timeout};

use crate::exit::Exit;
use crate::terminal::{self, Out};

/// How long a database that is away is waited for.
const DATABASE_WAIT: Duration = Duration::from_secs(60);
/// Between two looks at it.
const DATABASE_LOOK: Duration = Duration::from_secs(1);
/// How long the migrations may take altogether, waiting for another program's included.
const MIGRATE_TIMEOUT: Duration = Duration::from_secs(3_600);

/// Brings the schema of the services' database up to date, and waits up to a minute for the database
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  muster migrate

Settings, from the environment or from the file that MUSTER_CONFIG names:
  MUSTER_DATABASE_URL      like mysql://user:password@host:3306/name
  MUSTER_DATABASE_URL_FILE a file that holds it
  MUSTER_DATABASE_CA_FILE  the CA (PEM) that the database's certificate must come from

Make the database with: create database NAME character set utf8mb4 collate utf8mb4_bin")]
pub struct Args {}

/// Migrates and says what that changed.
pub async fn run(_: Args) -> Result<Exit> {
    let telemetry = telemetry::init("muster", "warn");
    let db = run::database(&Source::load()?)?;
    let outcome = migrate(&db).await;
    db.close().await;
    telemetry.flush().await;
    Out::stdout().line(&outcome.map_err(with_cause)?)?;
    Ok(Exit::Success)
}

async fn migrate(db: &Db) -> Result<String> {
    reachable(db).await?;
    db.check_collation().await?;
    let before = db.migrations().await?;
    let late = |_| Error::new(Kind::Timeout, "the migrations took too long; see what the database is doing");
    timeout(MIGRATE_TIMEOUT, db.migrate()).await.map_err(late)??;
    let after = db.migrations().await?;
    if before == after {
        return Ok(format!("nothing to do: the database has all {after} migrations"));
    }
    Ok(format!("the database is up to date: it had {before} migrations and has {after}"))
}

/// Waits until the database answers, and says every time why it does not.
async fn reachable(db: &Db) -> Result<()> {
    let since = Instant::now();
    while let Err(error) = db.ping().await {
        let left = DATABASE_WAIT.saturating_sub(since.elapsed());
        if error.kind() != Kind::Unavailable || left.is_zero() {
            return Err(error);
        }
        terminal::complain(&format!("waiting for the database, {} s more: {}", left.as_secs(), chain(&error)));
        sleep(DATABASE_LOOK).await;
    }
    Ok(())
}

/// Whoever runs migrations is who can do something about the cause.
fn with_cause(error: Error) -> Error {
    Error::new(error.kind(), chain(&error))
}
