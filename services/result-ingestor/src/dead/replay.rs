//! Brings letters back to the queues where they were given up. Somebody asked for that through the API,
//! which only notes it; so it is done even if the broker is away at that moment, and no handler talks to
//! the bus.
//!
//! Everybody on a letter's way checks it again as if it came for the first time, and does not mind if it
//! is not the first time. A letter goes once the broker has it; one that is given up again in between
//! stays, because keeping it took the note away.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use shared::bus::{Address, Message, Receipt, topology};
use shared::contract::signed::Kind;
use shared::error::Result;
use shared::run::{Bell, Chore, Context};
use shared::store;

/// How often it is looked for letters to be replayed without being rung for.
const EVERY: Duration = Duration::from_secs(5);
/// The most letters that are replayed at a time; each may have a megabyte.
const BATCH_MAX: usize = 8;

pub fn chore(ctx: &Context, bell: Bell) -> Chore {
    let ctx = ctx.clone();
    let work = Arc::new(move || {
        let ctx = ctx.clone();
        Box::pin(async move { step(&ctx).await }) as _
    });
    Chore { name: "replay", every: EVERY, bell, work }
}

/// Where a replay of what was given up in `queue` goes; `None` when no service of ours reads that.
pub fn address(queue: &str) -> Option<Address> {
    match queue {
        // Who sent it does not follow from the address, so any will do.
        topology::RESULTS => Some(Address::Report(Kind::Result, "replayed".to_owned())),
        queue => topology::agent_of(queue).map(|hostname| Address::Agent(hostname.to_owned())),
    }
}

async fn step(ctx: &Context) -> Result<bool> {
    let wanted = store::dead_letter::to_replay(&ctx.db, BATCH_MAX).await?;
    let (mut ids, mut messages) = (Vec::new(), Vec::new());
    for (id, queue) in &wanted {
        let kept = store::dead_letter::body(&ctx.db, id).await?;
        if let Some((address, (body, traceparent))) = address(queue).zip(kept) {
            ids.push(id);
            messages.push(Message { address, body, traceparent, ttl: None });
        }
    }
    let outcomes = ctx.bus.publish(messages).await;
    let (mut replayed, mut returned, mut failed) = (BTreeSet::new(), Vec::new(), None);
    for (id, outcome) in ids.into_iter().zip(outcomes) {
        match outcome {
            Ok(Receipt::Confirmed) => drop(replayed.insert(id.clone())),
            Ok(Receipt::Returned) => returned.push(id),
            Err(error) => failed = Some(error),
        }
    }
    let mut tx = ctx.db.begin().await?;
    store::dead_letter::replayed(&mut tx, &replayed).await?;
    for id in returned {
        let why = "it could not be replayed: its queue is gone; register the server again, or drop it";
        store::dead_letter::not_replayed(&mut tx, id, why).await?;
    }
    tx.commit().await?;
    failed.map_or(Ok(wanted.len() == BATCH_MAX), Err)
}
