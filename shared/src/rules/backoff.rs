//! Exponential back-off with full jitter: a random wait below a ceiling that doubles, so that many
//! waiters spread out instead of returning together.
//!
//! Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.

use std::time::Duration;

/// The shortest wait: less is none, by a clock that counts milliseconds.
const LEAST: Duration = Duration::from_millis(1);

/// The first ceiling and the last.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    /// Ceiling of the first wait.
    pub first: Duration,
    /// Ceiling that is never passed.
    pub most: Duration,
}

impl Backoff {
    /// For work inside the plane: 100 ms at first, 10 s at most.
    pub const WORK: Self = Self { first: Duration::from_millis(100), most: Duration::from_secs(10) };

    /// The ceiling after `failures` failures in a row.
    pub fn ceiling(self, failures: u32) -> Duration {
        let doubled = self.first.saturating_mul(1u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX));
        doubled.min(self.most)
    }

    /// A random wait up to the ceiling after `failures` failures in a row, and at least a millisecond.
    pub fn wait(self, failures: u32) -> Duration {
        let random = uuid::Uuid::new_v4().as_u128() as u32;
        self.ceiling(failures).mul_f64(f64::from(random) / f64::from(u32::MAX)).max(LEAST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_and_stops() {
        let backoff = Backoff::WORK;
        assert_eq!(backoff.ceiling(1), Duration::from_millis(100));
        assert_eq!(backoff.ceiling(3), Duration::from_millis(400));
        assert_eq!(backoff.ceiling(40), backoff.most);
        assert_eq!(backoff.ceiling(u32::MAX), backoff.most);
        assert!((1..100).all(|n| (LEAST..=backoff.ceiling(n)).contains(&backoff.wait(n))));
    }
}
