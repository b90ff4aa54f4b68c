//! Heartbeats: each counts that is newer than what is known of its run (`runs`), and the last that
//! counts is stored. They are worth nothing later, so one that is refused is counted and dropped.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::BoxFuture;
use shared::bus::{Delivery, Handler, Verdict};
use shared::contract::signed::{Heartbeat, Kind};
use shared::error::{Result, chain};
use shared::metrics;
use shared::run::Context;
use shared::sign::{Report, Verified};
use shared::store;
use shared::store::server::{Earlier, Known};

use crate::refusals::Refusals;
use crate::runs::{self, Sign};
use crate::verify;

/// Handles the queue of heartbeats.
pub struct Heartbeats {
    ctx: Context,
    refusals: Arc<Refusals>,
}

impl Heartbeats {
    pub const fn new(ctx: Context, refusals: Arc<Refusals>) -> Self {
        Self { ctx, refusals }
    }

    async fn take(&self, deliveries: &[Delivery]) -> Result<()> {
        let opened = verify::open(&self.ctx, deliveries, &[Kind::Heartbeat]).await?;
        let mut beats = Vec::with_capacity(opened.len());
        for report in opened {
            match report {
                Ok(Report::Heartbeat(beat)) => beats.push(beat),
                Ok(_) => (), // `expected` lets in heartbeats alone
                Err(refusal) => self.refusals.count(refusal),
            }
        }
        let hostnames: Vec<_> = beats.iter().map(|beat| beat.body().iss.as_str()).collect();
        let now = self.ctx.clock.now();
        let mut tx = self.ctx.db.begin_soft().await?;
        let known = store::server::known(&mut tx, &hostnames).await?;
        let mut heard: BTreeMap<String, Heard> =
            known.into_iter().map(|(hostname, known)| (hostname, Heard::new(known))).collect();
        for beat in beats {
            let Some(heard) = heard.get_mut(&beat.body().iss) else { continue }; // not registered, or no longer
            match runs::hear(&mut heard.known, beat, now) {
                Ok((beat, signs)) => heard.take(beat, &signs),
                Err(refusal) => self.refusals.count(refusal),
            }
        }
        for heard in heard.values() {
            let Some(newest) = &heard.newest else { continue };
            store::server::beat(&mut tx, newest.body(), now).await?;
            if let Some(earlier) =
                heard.known.earlier.as_ref().filter(|earlier| heard.stored.as_ref() != Some(*earlier))
            {
                store::server::remember(&mut tx, &newest.body().iss, earlier).await?;
            }
        }
        tx.commit().await
    }
}

/// What is known of a server once some of its heartbeats have been heard.
struct Heard {
    known: Known,
    /// What was stored of its earlier run.
    stored: Option<Earlier>,
    newest: Option<Verified<Heartbeat>>,
}

impl Heard {
    fn new(known: Known) -> Self {
        Self { stored: known.earlier.clone(), known, newest: None }
    }

    fn take(&mut self, beat: Verified<Heartbeat>, signs: &[Sign]) {
        let hostname = &beat.body().iss;
        for sign in signs {
            metrics::identity(sign.as_str());
            match sign {
                Sign::Turn => tracing::debug!(hostname, "an earlier run of an agent spoke again"),
                Sign::Clone => tracing::warn!(hostname, "two agents use the identity of one server; stop one of them"),
                Sign::Fork => {
                    tracing::warn!(hostname, "an agent does not know of its own last run; was it copied or put back?")
                }
            }
        }
        self.newest = Some(beat);
    }
}

impl Handler for Heartbeats {
    fn handle(&self, deliveries: Vec<Delivery>) -> BoxFuture<'_, Vec<Verdict>> {
        Box::pin(async move {
            metrics::ingested("heartbeats", deliveries.len());
            let verdict = match self.take(&deliveries).await {
                Ok(()) => Verdict::Done,
                Err(error) => {
                    tracing::warn!(cause = chain(&error), "heartbeats could not be stored; trying again");
                    Verdict::Again
                }
            };
            vec![verdict; deliveries.len()]
        })
    }
}
