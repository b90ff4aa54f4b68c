//! Heartbeats: only the newest of a server counts, and only newer than what is known. They are
//! worth nothing later, so one that is refused is counted and dropped.

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

use crate::refusals::Refusals;
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
        let mut tx = self.ctx.db.begin_soft().await?;
        let known = store::server::beats(&mut tx, &hostnames).await?;
        let known: BTreeMap<_, _> = known.into_iter().map(|beat| (beat.hostname.clone(), beat)).collect();
        let mut newest: BTreeMap<String, Verified<Heartbeat>> = BTreeMap::new();
        for beat in beats {
            let hostname = beat.body().iss.clone();
            let Some(stored) = known.get(&hostname) else { continue }; // not registered, or no longer
            let stored = stored.boot_id.as_deref().zip(stored.counter.map(i64::cast_unsigned));
            let seen = newest.get(&hostname).map(|beat| (beat.body().boot_id.clone(), beat.body().counter));
            let last = seen.as_ref().map(|(boot_id, counter)| (boot_id.as_str(), *counter)).or(stored);
            match beat.newer_than(last) {
                Ok(beat) => drop(newest.insert(hostname, beat)),
                Err(refusal) => self.refusals.count(refusal),
            }
        }
        let now = self.ctx.clock.now();
        for beat in newest.values() {
            store::server::beat(&mut tx, beat.body(), now).await?;
        }
        tx.commit().await
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
