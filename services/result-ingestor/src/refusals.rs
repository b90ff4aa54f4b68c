//! How many messages were refused, by reason.

use std::sync::atomic::{AtomicU64, Ordering};

use shared::bus::Verdict;
use shared::metrics;
use shared::sign::Refusal;

/// A counter for each reason.
#[derive(Debug, Default)]
pub struct Refusals([AtomicU64; Refusal::ALL.len()]);

impl Refusals {
    /// Counts a refusal.
    pub fn count(&self, refusal: Refusal) {
        self.0[refusal as usize].fetch_add(1, Ordering::Relaxed);
        metrics::refused("plane", refusal);
        tracing::debug!(reason = refusal.as_str(), "a report was refused");
    }

    /// Counts a refusal whose message goes to the dead letters.
    pub fn dead(&self, refusal: Refusal) -> Verdict {
        self.count(refusal);
        Verdict::Dead(refusal.as_str().to_owned())
    }

    /// How often this reason was given.
    pub fn of(&self, refusal: Refusal) -> u64 {
        self.0[refusal as usize].load(Ordering::Relaxed)
    }
}
