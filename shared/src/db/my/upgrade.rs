//! Bringing the schema up to date, by one program at a time.
//!
//! The lock is our own: the one that the migrator takes asks to wait for ever, which MySQL does and
//! MariaDB refuses with a `null` that nobody looks at (10.11), so that replicas would run into each
//! other. It belongs to the connection, which is closed when anything fails, and so is the lock.

use std::time::Duration;

use sqlx::migrate::{MigrateError, Migrator};

use super::{My, in_time, late};
use crate::error::{Error, Result};

/// How long a program waits for another one to finish its migrations; less than a statement may take,
/// and asked for as often as [`LOCK_TRIES_MAX`] says.
const LOCK_WAIT: Duration = Duration::from_secs(10);
/// Ten minutes altogether.
const LOCK_TRIES_MAX: u32 = 60;
/// The lock's name: one for each database, and never longer than the 64 characters that MySQL takes.
const LOCK: &str = "concat('muster-', sha1(database()))";
/// How texts are compared, which tells `web` from `Web`.
const COLLATION: &str = "utf8mb4_bin";

impl My {
    /// Applies what is missing, once no other program does.
    pub(in crate::db) async fn migrate(&self, migrator: &Migrator) -> Result<(), MigrateError> {
        let mut held = self.connection().await?;
        for tries in 1.. {
            let text = format!("select get_lock({LOCK}, {})", LOCK_WAIT.as_secs());
            let asked = sqlx::query_scalar::<_, Option<i64>>(sqlx::AssertSqlSafe(text)).fetch_one(held.connection()?);
            let answer = in_time(asked).await;
            match held.judge(answer)? {
                Some(1) => break,
                _ if tries == LOCK_TRIES_MAX => return Err(late().into()),
                _ => (), // another program is at it
            }
        }
        let outcome = migrator.run_direct(None, held.connection()?, false).await;
        held.close();
        outcome
    }

    /// Refuses a database that compares texts otherwise than Muster does: two names would be one.
    pub(in crate::db) async fn check_collation(&self) -> Result<()> {
        let mut held = self.connection().await?;
        let asked = "select cast(schema_name as char), cast(default_collation_name as char) \
                     from information_schema.schemata where schema_name = database()";
        let answer = in_time(sqlx::query_as::<_, (String, String)>(asked).fetch_one(held.connection()?)).await;
        let (name, collation) = held.judge(answer)?;
        if collation == COLLATION {
            return Ok(());
        }
        Err(Error::conflict(format!(
            "the database `{name}` has the collation {collation} and Muster needs {COLLATION}; before its first use run \
             `alter database {name} character set utf8mb4 collate {COLLATION}`, or make it with \
             `create database {name} character set utf8mb4 collate {COLLATION}`"
        )))
    }
}
