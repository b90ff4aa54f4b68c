//! Chores: background work that is an idempotent function without input, run by a clock and by a
//! bell. The bell carries no data and may be missed; the table that the chore reads is the truth,
//! and the clock comes round. So there is one way of working, whatever rang.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::error::{Error, Result, chain};
use crate::rules::backoff::Backoff;

/// Rung to say "there may be something to do". Ringing twice is ringing once.
#[derive(Clone, Debug, Default)]
pub struct Bell(Arc<Notify>);

impl Bell {
    /// Rings.
    pub fn ring(&self) {
        self.0.notify_one();
    }

    /// Whether it was rung and nobody has listened yet; from now on somebody has.
    pub fn take(&self) -> bool {
        self.0.notified().now_or_never().is_some()
    }
}

/// What a chore does; returns whether there is more to do at once.
pub type Work = Arc<dyn Fn() -> BoxFuture<'static, Result<bool>> + Send + Sync>;

/// Background work.
#[derive(Clone)]
pub struct Chore {
    /// Its name in logs.
    pub name: &'static str,
    /// How often it is done without being rung for.
    pub every: Duration,
    /// What rings for it.
    pub bell: Bell,
    /// What it does.
    pub work: Work,
}

impl Chore {
    /// Does it once. A panic is a failure like any other.
    async fn step(&self) -> Result<bool> {
        let done = AssertUnwindSafe(async { (self.work)().await }).catch_unwind().await;
        done.unwrap_or_else(|_| Err(Error::internal("it panicked")))
    }

    /// Does it until there is no more to do, or it fails.
    pub(super) async fn exhaust(&self) -> Result<()> {
        loop {
            match self.step().await {
                Ok(true) => (),
                Ok(false) => return Ok(()),
                Err(error) => {
                    tracing::warn!(chore = self.name, cause = chain(&error), "a chore failed");
                    return Err(error);
                }
            }
        }
    }

    /// Does it by clock and bell until `stop`. A failure, be it a panic, is logged and tried again with
    /// back-off.
    pub(super) async fn run(self, stop: CancellationToken) {
        let (mut failures, mut is_rung) = (0, false);
        while !stop.is_cancelled() {
            let pause = match self.step().await {
                Ok(true) => continue,
                Ok(false) => {
                    failures = 0;
                    self.every
                }
                Err(error) => {
                    failures += 1;
                    tracing::warn!(chore = self.name, cause = chain(&error), "a chore failed; trying again");
                    Backoff::WORK.wait(failures)
                }
            };
            let rung = async {
                // After a failure the bell must not defeat the back-off.
                if failures == 0 { self.bell.0.notified().await } else { std::future::pending().await }
            };
            let woken = stop.run_until_cancelled(async {
                tokio::select! { () = rung => true, () = tokio::time::sleep(pause) => false }
            });
            is_rung = woken.await == Some(true);
        }
        // What it was rung for in the meantime shall not wait for the next start.
        if failures == 0
            && (is_rung || self.bell.take())
            && let Err(error) = self.step().await
        {
            tracing::warn!(chore = self.name, cause = chain(&error), "a chore failed at the end");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test]
    async fn what_it_was_rung_for_is_done_before_it_ends() {
        for rings in [true, false] {
            let (bell, stop, done) = (Bell::default(), CancellationToken::new(), Arc::new(AtomicU32::new(0)));
            let (ringing, stopping, counting) = (bell.clone(), stop.clone(), Arc::clone(&done));
            let work: Work = Arc::new(move || {
                // Both happen while it is at work for the first time.
                if counting.fetch_add(1, Ordering::Relaxed) == 0 {
                    stopping.cancel();
                    if rings {
                        ringing.ring();
                    }
                }
                Box::pin(async { Ok(false) })
            });
            Chore { name: "test", every: Duration::MAX, bell, work }.run(stop).await;
            assert_eq!(done.load(Ordering::Relaxed), if rings { 2 } else { 1 });
        }
    }
}
