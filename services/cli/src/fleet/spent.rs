//! Processor time, so that what this process takes is not taken for the plane's.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use shared::error::{Error, Result};

/// What the simulated agents did, and what it took.
#[derive(Debug, Default)]
pub struct Spent {
    signing_micros: AtomicU64,
    refused: AtomicU64,
}

impl Spent {
    /// Notes the time of one piece of verifying and signing, and what it refused.
    pub fn note(&self, signing: Duration, refused: usize) {
        self.signing_micros.fetch_add(u64::try_from(signing.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.refused.fetch_add(refused as u64, Ordering::Relaxed);
    }

    /// The time of verifying and signing so far.
    pub fn signing(&self) -> Duration {
        Duration::from_micros(self.signing_micros.load(Ordering::Relaxed))
    }

    /// Deliveries that were not believed.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

/// The processor time of this process so far.
pub fn of_process() -> Result<Duration> {
    used(UsageWho::RUSAGE_SELF)
}

/// The processor time of this thread so far.
pub fn of_thread() -> Result<Duration> {
    used(UsageWho::RUSAGE_THREAD)
}

fn used(who: UsageWho) -> Result<Duration> {
    let usage = getrusage(who).map_err(Error::internal)?;
    let micros = (usage.user_time() + usage.system_time()).num_microseconds();
    Ok(Duration::from_micros(micros.unsigned_abs()))
}
