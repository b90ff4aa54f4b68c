//! The time seam. Everything that asks what time it is asks a [`Clock`], so that a test or the
//! simulator can hold time still, push it on, or turn it back. Clippy forbids the system clock
//! elsewhere.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use tokio::sync::Notify;

/// RFC 3339 in UTC with exactly three decimals, the one form Muster writes.
const WIRE: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

/// How long that is.
const WIRE_BYTES: usize = "0000-00-00T00:00:00.000Z".len();

/// Where the time comes from.
#[derive(Clone, Debug)]
pub enum Clock {
    /// The machine's clock.
    System,
    /// A clock that stands still until it is moved.
    Manual(Arc<Hands>),
}

/// The hands of a manual clock.
#[derive(Debug)]
pub struct Hands {
    /// What it shows, in milliseconds since 1970.
    shows: AtomicI64,
    /// How much time has passed, in milliseconds, whatever the clock was set to meanwhile.
    passed: AtomicU64,
    moved: Notify,
}

impl Clock {
    /// A clock that stands at `at`.
    pub fn manual(at: Time) -> Self {
        let hands = Hands { shows: AtomicI64::new(at.0), passed: AtomicU64::new(0), moved: Notify::new() };
        Self::Manual(Arc::new(hands))
    }

    /// The time now.
    pub fn now(&self) -> Time {
        match self {
            Self::System => Time::system(),
            Self::Manual(hands) => Time(hands.shows.load(Ordering::SeqCst)),
        }
    }

    /// Lets time pass on a manual clock. The system clock cannot be moved, so there it does nothing.
    pub fn advance(&self, by: Duration) {
        if let Self::Manual(hands) = self {
            hands.shows.fetch_add(millis(by), Ordering::SeqCst);
            hands.passed.fetch_add(millis(by).unsigned_abs(), Ordering::SeqCst);
            hands.moved.notify_waiters();
        }
    }

    /// Sets a manual clock, on or back, as an administrator does: no time passes. The system clock
    /// cannot be set, so there it does nothing.
    pub fn set(&self, to: Time) {
        if let Self::Manual(hands) = self {
            hands.shows.store(to.0, Ordering::SeqCst);
        }
    }

    /// Waits until so much time has passed. On a manual clock that is once it was moved so far.
    pub async fn sleep(&self, how_long: Duration) {
        let Self::Manual(hands) = self else { return tokio::time::sleep(how_long).await };
        let passed = || hands.passed.load(Ordering::SeqCst);
        let until = passed().saturating_add(millis(how_long).unsigned_abs());
        loop {
            let moved = hands.moved.notified();
            tokio::pin!(moved);
            moved.as_mut().enable(); // from here on no move is missed
            if passed() >= until {
                return;
            }
            moved.await;
        }
    }
}

/// A moment, in milliseconds since 1970-01-01T00:00:00Z; written as RFC 3339 in HTTP bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub i64);

impl Time {
    #[expect(clippy::disallowed_methods, reason = "the clock is the one place that may look")]
    fn system() -> Self {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => Self(millis(since)),
            Err(before) => Self(-millis(before.duration())),
        }
    }

    /// This moment and `by` later.
    pub const fn plus(self, by: Duration) -> Self {
        Self(self.0.saturating_add(millis(by)))
    }

    /// This moment and `by` earlier.
    pub const fn minus(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(millis(by)))
    }

    /// How long it is until `later`; zero when that is past.
    pub fn until(self, later: Self) -> Duration {
        Duration::from_millis(u64::try_from(later.0.saturating_sub(self.0)).unwrap_or(0))
    }
}

const fn millis(by: Duration) -> i64 {
    let ms = by.as_millis();
    if ms > i64::MAX as u128 { i64::MAX } else { ms as i64 }
}

/// The first and the last moment that the form has a year for.
const SHOWN: std::ops::RangeInclusive<i64> = -62_167_219_200_000..=253_402_300_799_999;

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A server may claim any time; the nearest that can be written is better than no answer.
        let nanos = i128::from(self.0.clamp(*SHOWN.start(), *SHOWN.end())) * 1_000_000;
        let moment = OffsetDateTime::from_unix_timestamp_nanos(nanos).map_err(|_| fmt::Error)?;
        let mut text = [0; WIRE_BYTES]; // no allocation: a long list writes a great many times
        moment.format_into(&mut text.as_mut_slice(), &WIRE).map_err(|_| fmt::Error)?;
        f.write_str(str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let moment = OffsetDateTime::parse(&text, &Rfc3339).map_err(de::Error::custom)?;
        Ok(Self((moment.unix_timestamp_nanos() / 1_000_000) as i64))
    }
}

/// Serde form of a [`Time`] in signed payloads: whole milliseconds since 1970, which no two
/// languages read differently.
pub mod unix_ms {
    use super::{Deserialize, Deserializer, Serializer, Time};

    /// Writes the number.
    pub fn serialize<S: Serializer>(time: &Time, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(time.0)
    }

    /// Reads the number; a string or a fraction is an error.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Time, D::Error> {
        i64::deserialize(deserializer).map(Time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_with_three_decimals_and_read_back() {
        let at = Time(1_704_110_400_007);
        assert_eq!(at.to_string(), "2024-01-01T12:00:00.007Z");
        let json = serde_json::to_string(&at).unwrap();
        assert_eq!(serde_json::from_str::<Time>(&json).unwrap(), at);
        assert_eq!(serde_json::from_str::<Time>("\"2024-01-01T13:00:00+01:00\"").unwrap(), Time(1_704_110_400_000));
    }

    #[test]
    fn whatever_is_claimed_can_be_written() {
        for (at, written) in [(i64::MAX, "9999-12-31T23:59:59.999Z"), (i64::MIN, "0000-01-01T00:00:00.000Z")] {
            assert_eq!(Time(at).to_string(), written);
            assert!(serde_json::from_str::<Time>(&format!("\"{written}\"")).is_ok());
        }
    }

    #[test]
    fn a_manual_clock_moves_only_when_told() {
        let clock = Clock::manual(Time(5));
        assert_eq!(clock.now(), Time(5));
        clock.advance(Duration::from_secs(2));
        assert_eq!(clock.now(), Time(2_005));
        assert_eq!(Time(10).until(Time(4)), Duration::ZERO);
    }

    #[tokio::test]
    async fn who_sleeps_wakes_when_time_has_passed_and_not_when_the_clock_is_set() {
        let clock = Clock::manual(Time(0));
        let mut sleep = Box::pin(clock.sleep(Duration::from_secs(5)));
        let mut sleeps = async || futures::poll!(&mut sleep).is_pending();
        assert!(sleeps().await);
        clock.set(Time(1_000_000));
        assert!(sleeps().await, "no time has passed");
        clock.advance(Duration::from_secs(4));
        clock.set(Time(0));
        assert!(sleeps().await);
        clock.advance(Duration::from_secs(1));
        assert!(!sleeps().await);
        assert_eq!(clock.now(), Time(1_000));
    }
}
