//! How a command is rolled out: how many servers may have it at a time, and after how many that did
//! not succeed the rest is spared. The words and their meaning are those of AWS Systems Manager's
//! `MaxConcurrency` and `MaxErrors`.
//!
//! The window slides: as servers get done, others follow, so that one slow server does not hold up
//! all others. But each wave costs a signature and a row, so a wave goes out only when a quarter of
//! the window is free: a roll-out has at most about four waves for each time its window fits in.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::invocation::DEADLINE_GRACE;
use super::limits::ROLLOUT_EXPIRES_IN_SECS_MAX;
use super::task::Counts;

/// The largest count that a limit may be.
pub const COUNT_MAX: i64 = 1_000_000;
/// A wave goes out when one part in so many of the window is free.
const WINDOW_PARTS: i64 = 4;

/// A number of servers: a count, or a percentage of a task's targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Limit {
    /// So many.
    Count(i64),
    /// So many of a hundred.
    Percent(i64),
}

impl Limit {
    /// How many servers have a command at a time when only `max_errors` is given: with all of them at
    /// once, nothing would be left to be spared.
    pub const CONCURRENCY_DEFAULT: Self = Self::Percent(10);
    /// How many may fail when only `max_concurrency` is given: the first one stops the rest.
    pub const ERRORS_DEFAULT: Self = Self::Count(0);

    /// Reads `5` or `10%`; `None` for any other text.
    pub fn parse(text: &str) -> Option<Self> {
        let (digits, most, limit): (_, _, fn(i64) -> Self) = match text.strip_suffix('%') {
            Some(digits) => (digits, 100, Self::Percent),
            None => (text, COUNT_MAX, Self::Count),
        };
        let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        let number = plain.then(|| digits.parse().ok()).flatten()?;
        (number <= most).then(|| limit(number))
    }

    /// Whether it stands for no server at all, however many there are.
    pub const fn is_zero(self) -> bool {
        matches!(self, Self::Count(0) | Self::Percent(0))
    }

    /// As the most servers at a time: rounded up, and at least one.
    pub fn concurrency(self, targets: i64) -> i64 {
        let servers = match self {
            Self::Count(count) => count,
            Self::Percent(percent) => targets.saturating_mul(percent).saturating_add(99) / 100,
        };
        servers.max(1)
    }

    /// As the most servers that may not succeed: rounded down, which stops rather too early.
    pub const fn errors(self, targets: i64) -> i64 {
        match self {
            Self::Count(count) => count,
            Self::Percent(percent) => targets.saturating_mul(percent) / 100,
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => write!(f, "{count}"),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

impl From<Limit> for String {
    fn from(limit: Limit) -> Self {
        limit.to_string()
    }
}

impl TryFrom<String> for Limit {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).ok_or("it must be a count such as 5, or a percentage such as 10%")
    }
}

/// How a task is rolled out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// How many servers have the command at a time.
    pub max_concurrency: Limit,
    /// How many may not succeed before the rest is spared.
    pub max_errors: Limit,
}

impl Limits {
    /// What was asked for, completed; `None` when neither was: everything goes out at once.
    pub fn of(max_concurrency: Option<Limit>, max_errors: Option<Limit>) -> Option<Self> {
        (max_concurrency.is_some() || max_errors.is_some()).then(|| Self {
            max_concurrency: max_concurrency.unwrap_or(Limit::CONCURRENCY_DEFAULT),
            max_errors: max_errors.unwrap_or(Limit::ERRORS_DEFAULT),
        })
    }
}

/// What to do next about a roll-out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Too little is free yet.
    Wait,
    /// Send the command to so many more servers.
    Release(i64),
    /// Too many did not succeed: spare the rest.
    TooManyErrors,
    /// Its time is over: spare the rest.
    TimeOver,
}

/// Decides. `held` servers wait for their wave, and `counts` counts them as queued; `in_time` is
/// whether a wave may still go out.
///
/// Every server whose end is known or guessed counts as an error unless it succeeded: a server that
/// nobody hears of is no better than one that failed. Those spared or never sent are none.
pub fn decide(counts: &Counts, held: i64, max_concurrency: i64, max_errors: i64, in_time: bool) -> Decision {
    let open = counts.open() - held;
    match () {
        () if !in_time => Decision::TimeOver,
        () if counts.errors() > max_errors => Decision::TooManyErrors,
        () => release(held, max_concurrency, (max_concurrency - open).max(0)),
    }
}

fn release(held: i64, window: i64, free: i64) -> Decision {
    let worth_a_wave = free >= held || free.saturating_mul(WINDOW_PARTS) >= window;
    if worth_a_wave && free > 0 { Decision::Release(free.min(held)) } else { Decision::Wait }
}

/// How many windows a roll-out takes at most.
pub fn windows(targets: i64, max_concurrency: i64) -> i64 {
    targets.saturating_add(max_concurrency - 1) / max_concurrency
}

/// How long servers may go on being started, in seconds: long enough for each window to live through
/// its whole time, the last one's delivery included, and never longer than the limit.
pub fn expires_in(limits: Limits, targets: i64, expires_in: i64, timeout: i64) -> i64 {
    let windows = windows(targets, limits.max_concurrency.concurrency(targets)).max(1);
    let grace = i64::try_from(DEADLINE_GRACE.as_secs()).unwrap_or(i64::MAX);
    let after_start = timeout.saturating_add(grace);
    let whole = windows.saturating_mul(expires_in.saturating_add(after_start)).saturating_sub(after_start);
    whole.min(ROLLOUT_EXPIRES_IN_SECS_MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rules::invocation::Status;

    #[test]
    fn counts_and_percentages_are_read_and_written_back() {
        for text in ["0", "1", "1000000", "0%", "10%", "100%"] {
            assert_eq!(Limit::parse(text).unwrap().to_string(), text);
        }
        for bad in
            ["", "%", "-1", "+1", "1.5", "101%", "1000001", "1 %", " 1", "10%%", "x", "١", "99999999999999999999"]
        {
            assert_eq!(Limit::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn concurrency_rounds_up_and_errors_round_down() {
        for (text, targets, concurrency, errors) in
            [("10%", 10, 1, 1), ("10%", 11, 2, 1), ("10%", 3, 1, 0), ("100%", 7, 7, 7), ("0%", 9, 1, 0), ("5", 3, 5, 5)]
        {
            let limit = Limit::parse(text).unwrap();
            assert_eq!(
                (limit.concurrency(targets), limit.errors(targets)),
                (concurrency, errors),
                "{text} of {targets}"
            );
        }
    }

    #[test]
    fn one_of_the_two_stands_for_both() {
        assert_eq!(Limits::of(None, None), None);
        let limits = Limits::of(Some(Limit::Count(3)), None).unwrap();
        assert_eq!(limits.max_errors, Limit::Count(0));
        let limits = Limits::of(None, Some(Limit::Count(3))).unwrap();
        assert_eq!(limits.max_concurrency, Limit::Percent(10));
    }

    #[test]
    fn more_errors_than_allowed_stop_it_and_no_fewer() {
        let mut counts = Counts::queued(10);
        counts.shift(Status::Queued, Status::Failed);
        assert_eq!(decide(&counts, 9, 1, 0, true), Decision::TooManyErrors);
        assert_eq!(decide(&counts, 9, 1, 1, true), Decision::Release(1));
        assert_eq!(decide(&counts, 9, 1, 1, false), Decision::TimeOver);
    }

    #[test]
    fn a_wave_waits_for_a_quarter_of_the_window() {
        let mut counts = Counts::queued(100);
        assert_eq!(decide(&counts, 92, 8, 0, true), Decision::Wait);
        counts.shift(Status::Queued, Status::Succeeded);
        assert_eq!(decide(&counts, 92, 8, 0, true), Decision::Wait);
        counts.shift(Status::Queued, Status::Succeeded);
        assert_eq!(decide(&counts, 92, 8, 0, true), Decision::Release(2));
    }

    proptest! {
        /// Played to its end, a roll-out never has more than its window open, never releases more than
        /// it holds, ends, and everybody is accounted for.
        #[test]
        fn a_roll_out_keeps_its_window_and_ends(
            targets in 1i64..300,
            window in 1i64..40,
            max_errors in 0i64..10,
            outcomes in prop::collection::vec(any::<u8>(), 300),
        ) {
            let mut counts = Counts::queued(targets);
            let mut held = targets - window.min(targets);
            let (mut outcomes, mut waves) = (outcomes.into_iter(), 1);
            while held > 0 {
                match decide(&counts, held, window, max_errors, true) {
                    Decision::Release(servers) => {
                        prop_assert!(servers > 0 && servers <= held);
                        held -= servers;
                        waves += 1;
                    }
                    Decision::Wait => {
                        let failed = outcomes.next().unwrap_or(0) % 20 == 0;
                        counts.shift(Status::Queued, if failed { Status::Failed } else { Status::Succeeded });
                    }
                    Decision::TooManyErrors => {
                        prop_assert!(counts.errors() > max_errors);
                        (0..held).for_each(|_| counts.shift(Status::Queued, Status::Skipped));
                        held = 0;
                    }
                    Decision::TimeOver => prop_assert!(false, "it was in time"),
                }
                prop_assert!(counts.open() - held <= window);
                prop_assert_eq!(counts.targets(), targets);
            }
            prop_assert!(waves <= 2 + 4 * windows(targets, window));
        }
    }
}
