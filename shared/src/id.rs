//! Identifiers made by the program, never by the database: UUIDv7, so that they sort by time.

use std::fmt;

use uuid::{ContextV7, Timestamp, Uuid};

use crate::clock::Time;
use crate::error::{Error, Result};

/// A task's id: 32 lower-case hexadecimal digits that sort by the time of making.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId(String);

impl TaskId {
    /// A new id for something made at `now`.
    pub fn new(now: Time) -> Self {
        Self(sortable(now))
    }

    /// Reads an id. Anything malformed names no task, so it is a "not found".
    pub fn parse(text: &str) -> Result<Self> {
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if text.len() == 32 && text.bytes().all(hex) {
            return Ok(Self(text.to_owned()));
        }
        Err(Error::not_found("there is no task with this id; a task id has 32 hexadecimal digits"))
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// 32 hexadecimal digits that sort by `now`, and within one process by the order of the calls.
pub fn sortable(now: Time) -> String {
    static CONTEXT: std::sync::Mutex<ContextV7> = std::sync::Mutex::new(ContextV7::new());
    let ms = u64::try_from(now.0).unwrap_or(0);
    let stamp = Timestamp::from_unix(&CONTEXT, ms / 1_000, (ms % 1_000) as u32 * 1_000_000);
    Uuid::new_v7(stamp).simple().to_string()
}

/// When a sortable id was made.
pub fn made_at(id: &str) -> Option<Time> {
    i64::from_str_radix(id.get(..12)?, 16).ok().map(Time)
}

/// 32 random hexadecimal digits.
pub fn random() -> String {
    Uuid::new_v4().simple().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_knows_when_it_was_made() {
        assert_eq!(made_at(&sortable(Time(1_735_689_600_123))), Some(Time(1_735_689_600_123)));
        assert_eq!(made_at("short"), None);
    }

    #[test]
    fn ids_sort_by_making() {
        let ids: Vec<_> = (0..1_000).map(|i| TaskId::new(Time(1_000 + i / 100))).collect();
        assert!(ids.is_sorted());
        assert!(ids.iter().all(|id| TaskId::parse(id.as_str()).is_ok()));
    }

    #[test]
    fn what_is_no_id_names_no_task() {
        for text in ["", "abc123", "../../etc/passwd", "0123456789ABCDEF0123456789ABCDEF"] {
            assert!(TaskId::parse(text).is_err(), "{text}");
        }
    }
}
