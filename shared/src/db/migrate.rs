//! The schema's history, in the order in which it is applied. Built into the program, so that a
//! binary and the schema it expects cannot be told apart.

use std::borrow::Cow;

use sqlx::SqlStr;
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};

use crate::error::Error;

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
}

pub(super) fn migrator() -> Migrator {
    let migration = |(place, (name, sql)): (usize, &(&'static str, &'static str))| {
        let version = i64::try_from(place + 1).unwrap_or(i64::MAX);
        Migration::new(version, Cow::Borrowed(*name), MigrationType::Simple, SqlStr::from_static(sql), false)
    };
    Migrator::with_migrations(HISTORY.iter().enumerate().map(migration).collect())
}

pub(super) fn explain(error: MigrateError) -> Error {
    match error {
        MigrateError::VersionMissing(_) | MigrateError::VersionMismatch(_) => Error::unavailable(
            "the database was made by another version of Muster; run that version, or a newer one than both",
        ),
        MigrateError::Execute(cause) => cause.into(),
        _ => Error::unavailable("the database's schema could not be brought up to date"),
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
        for (place, name) in files.iter().enumerate() {
            assert!(name.starts_with(&format!("{:04}_", place + 1)), "{name}");
        }
    }

    #[test]
    fn one_statement_a_file() {
        for (name, sql) in HISTORY {
            assert!(!sql.contains(';'), "{name} must hold one statement and no semicolon");
        }
    }
}
