//! How much of the past is kept.

use std::time::Duration;

use super::Source;
use super::key::{KEEP_OUTPUT_DAYS, KEEP_TASKS_DAYS, KEEP_TASKS_MAX, Key};
use crate::error::{Error, Result};

/// Days that a task is kept unless told otherwise.
pub const TASKS_DAYS_DEFAULT: u64 = 90;
/// Tasks that are kept unless told otherwise.
pub const TASKS_MAX_DEFAULT: u64 = 1_000_000;
/// The longest that something may be kept by the day: a hundred years.
pub const DAYS_MAX: u64 = 36_500;
/// The most tasks that may be asked for.
pub const TASKS_MAX_MAX: u64 = 1_000_000_000;

/// How much is kept; `None` sets no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// How long a task is kept, from when it was made.
    pub tasks_for: Option<Duration>,
    /// How many tasks are kept, the newest of them.
    pub tasks_max: Option<u64>,
    /// How long an output is kept, from when it was stored; in any case no longer than its task.
    pub outputs_for: Option<Duration>,
}

impl Default for Keep {
    fn default() -> Self {
        Self::new(TASKS_DAYS_DEFAULT, TASKS_MAX_DEFAULT, 0)
    }
}

impl Keep {
    /// So many days, tasks and days of output; 0 sets no limit.
    pub fn new(tasks_days: u64, tasks_max: u64, output_days: u64) -> Self {
        let days = |days: u64| (days > 0).then(|| Duration::from_secs(days.min(DAYS_MAX) * 24 * 3_600));
        Self {
            tasks_for: days(tasks_days),
            tasks_max: Some(tasks_max).filter(|max| *max > 0),
            outputs_for: days(output_days),
        }
    }

    /// What the settings say.
    pub fn from(settings: &Source) -> Result<Self> {
        let number = |key: Key, max: u64, default: u64| {
            let form = format!("a whole number from 0 (no limit) to {max}");
            let number = settings.parse(key, &form)?.unwrap_or(default);
            if number <= max { Ok(number) } else { Err(Error::bad_input(format!("{} must be {form}", key.name))) }
        };
        Ok(Self::new(
            number(KEEP_TASKS_DAYS, DAYS_MAX, TASKS_DAYS_DEFAULT)?,
            number(KEEP_TASKS_MAX, TASKS_MAX_MAX, TASKS_MAX_DEFAULT)?,
            number(KEEP_OUTPUT_DAYS, DAYS_MAX, 0)?,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keep(vars: &[(Key, &str)]) -> Result<Keep> {
        Keep::from(&Source::from_vars(vars.iter().map(|(key, value)| (key.name.to_owned(), (*value).to_owned())))?)
    }

    #[test]
    fn absent_is_the_default_and_nought_is_no_limit() {
        assert_eq!(keep(&[]).unwrap(), Keep::default());
        let all = keep(&[(KEEP_TASKS_DAYS, "0"), (KEEP_TASKS_MAX, "0"), (KEEP_OUTPUT_DAYS, "0")]).unwrap();
        assert_eq!(all, Keep { tasks_for: None, tasks_max: None, outputs_for: None });
        let little = keep(&[(KEEP_TASKS_DAYS, "2"), (KEEP_TASKS_MAX, "10"), (KEEP_OUTPUT_DAYS, "1")]).unwrap();
        assert_eq!(little, Keep::new(2, 10, 1));
        assert_eq!(little.tasks_for, Some(Duration::from_secs(172_800)));
    }

    #[test]
    fn the_page_tells_the_defaults() {
        let told = |key: Key| key.default.unwrap().parse::<u64>().unwrap();
        let default = Keep::new(told(KEEP_TASKS_DAYS), told(KEEP_TASKS_MAX), told(KEEP_OUTPUT_DAYS));
        assert_eq!(default, Keep::default());
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        for (key, value) in
            [(KEEP_TASKS_DAYS, "-1"), (KEEP_TASKS_DAYS, "36501"), (KEEP_TASKS_MAX, "many"), (KEEP_OUTPUT_DAYS, "1.5")]
        {
            assert!(keep(&[(key, value)]).unwrap_err().detail().contains(key.name), "{value}");
        }
    }
}
