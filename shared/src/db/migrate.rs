//! The schema's history, in the order in which it is applied. Built into the program, so that a
//! binary and the schema it expects cannot be told apart.

use std::borrow::Cow;
use std::cmp::Ordering;

use sqlx::SqlStr;
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::mysql::MySqlDatabaseError;

use crate::error::{Error, Kind, Result};

macro_rules! history {
    ($($name:literal),* $(,)?) => {
        const HISTORY: &[(&str, &str)] = &[$(($name, include_str!(concat!("../../../migrations/", $name, ".sql")))),*];
    };
}

history! {
    "0001_servers",
    "0002_servers_by_group",
    "0003_client_keys",
    "0004_client_keys_by_host",
    "0005_signing_keys",
    "0006_tasks",
    "0007_tasks_by_idempotency_key",
    "0008_invocations",
    "0009_invocations_by_due",
    "0010_invocations_by_host",
    "0011_results",
    "0012_results_by_time",
    "0013_result_conflicts",
    "0014_outbox",
    "0015_outbox_by_due",
    "0016_outbox_by_lease",
    "0017_outbox_by_task",
    "0018_outbox_by_host",
    "0019_waves",
    "0020_waves_of_tasks",
    "0021_tasks_without_envelope",
    "0022_tasks_without_command_digest",
    "0023_tasks_without_keyid",
    "0024_tasks_without_cancel_envelope",
    "0025_tasks_max_concurrency",
    "0026_tasks_max_errors",
    "0027_tasks_retry_of",
    "0028_invocations_wave",
    "0029_rollouts",
    "0030_servers_trouble",
    "0031_server_runs",
    "0035_dead_letters",
    "0036_dead_letters_by_time",
    "0037_dead_letters_by_worth",
    "0038_dead_letters_by_replay",
    "0040_removals",
    "0041_results_output_at",
    "0042_results_output_known",
    "0043_results_by_output",
    "0045_outbox_wave",
    "0046_client_keys_one_active",
    "0047_client_keys_active_hostname",
    "0048_client_keys_by_active_hostname",
}

pub(super) fn migrator() -> Migrator {
    let migration = |(name, sql): &(&'static str, &'static str)| {
        Migration::new(version(name), Cow::Borrowed(*name), MigrationType::Simple, SqlStr::from_static(sql), false)
    };
    let mut migrator = Migrator::with_migrations(HISTORY.iter().map(migration).collect());
    migrator.set_locking(false); // `db::my` has a lock of its own, and SQLite's file has one writer
    migrator
}

/// The number that a name begins with; numbers may be left out.
fn version(name: &str) -> i64 {
    name.split_once('_').and_then(|(number, _)| number.parse().ok()).unwrap_or_default()
}

pub(super) fn explain(error: MigrateError) -> Error {
    match error {
        MigrateError::VersionMissing(_) | MigrateError::VersionMismatch(_) => Error::unavailable(
            "the database was made by another version of Muster; run that version, or a newer one than both",
        ),
        MigrateError::Execute(cause) => cause.into(),
        MigrateError::Dirty(version) => Error::conflict(format!(
            "migration {version} was broken off before; see whether what it makes is there, then set `success` in its row of \
             `_sqlx_migrations` to true, or delete the row if it is not, and run `muster migrate` again"
        )),
        other => Error::unavailable("the database's schema could not be brought up to date").because(other),
    }
}

/// What to say when there is no history to be read.
pub(super) fn unreadable(error: Error) -> Error {
    if error.kind() == Kind::Unavailable && !is_missing(&error) {
        return error;
    }
    Error::unavailable("the database has no schema yet; run `muster migrate` first").because(error)
}

/// Whether the history is not there. MySQL counts that among the troubles of its surroundings; here it is
/// the point.
pub(super) fn is_missing(error: &Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<sqlx::Error>());
    let database = cause.and_then(sqlx::Error::as_database_error);
    database.is_some_and(|error| match error.try_downcast_ref::<MySqlDatabaseError>() {
        Some(error) => error.number() == 1146,
        None => error.message().starts_with("no such table"),
    })
}

/// Compares what was applied with what this program knows.
pub(super) fn compare(applied: &[(i64, Vec<u8>)]) -> Result<()> {
    let migrator = migrator();
    let known: Vec<_> = migrator.iter().map(|one| (one.version, one.checksum.as_ref())).collect();
    let differ = applied.iter().zip(&known).any(|(one, other)| (one.0, one.1.as_slice()) != *other);
    match applied.len().cmp(&known.len()) {
        _ if differ => Err(explain(MigrateError::VersionMismatch(0))),
        Ordering::Less => {
            Err(Error::unavailable("the database's schema is older than this program; run `muster migrate`"))
        }
        Ordering::Greater => Err(explain(MigrateError::VersionMissing(0))),
        Ordering::Equal => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_listed_in_its_place() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../migrations");
        let mut files: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .filter_map(|entry| Some(entry.unwrap().file_name().to_str()?.strip_suffix(".sql")?.to_owned()))
            .collect();
        files.sort();
        let listed: Vec<_> = HISTORY.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(listed, files);
        let versions: Vec<_> = listed.iter().map(|name| version(name)).collect();
        assert!(versions.is_sorted_by(|one, next| one < next) && versions[0] == 1, "{versions:?}");
        assert!(
            files.iter().all(|name| name.as_bytes()[4] == b'_'),
            "four digits, so that the files sort as they count"
        );
    }

    #[test]
    fn one_statement_a_file() {
        for (name, sql) in HISTORY {
            assert!(!sql.contains(';'), "{name} must hold one statement and no semicolon");
        }
    }
}
