//! From deliveries to authentic reports: one look-up of keys for the batch, then each signature.

use std::collections::{BTreeMap, BTreeSet};

use shared::bus::Delivery;
use shared::contract::signed::Kind;
use shared::error::{Error, Result};
use shared::run::Context;
use shared::sign::{Refusal, Report, Sealed, TrustedKey};
use shared::store;

/// Signatures up to which a batch is verified where it arrived; each takes about 50 microseconds.
const FEW: usize = 8;

/// Opens each delivery, in order. The keys are read for every batch, so that a revocation counts
/// from the next message on.
///
/// # Errors
/// Only when the database or the machine fails; whatever is wrong with a message is its own verdict.
pub async fn open(ctx: &Context, deliveries: &[Delivery], expected: &[Kind]) -> Result<Vec<Result<Report, Refusal>>> {
    let sealed: Vec<_> = deliveries.iter().map(|delivery| Sealed::parse(&delivery.body, expected)).collect();
    let keys = keys(ctx, sealed.iter().flatten()).await?;
    let now = ctx.clock.now();
    let few = sealed.len() <= FEW;
    let work = move || {
        let open = |sealed: Result<Sealed, Refusal>| {
            let sealed = sealed?;
            let key = keys.get(sealed.keyid());
            sealed.open_report(key, now)
        };
        sealed.into_iter().map(open).collect()
    };
    // Many signatures are work for a thread of its own; a few take less than changing threads does.
    if few { Ok(work()) } else { tokio::task::spawn_blocking(work).await.map_err(Error::internal) }
}

async fn keys(ctx: &Context, sealed: impl Iterator<Item = &Sealed>) -> Result<BTreeMap<String, TrustedKey>> {
    let ids: BTreeSet<_> = sealed.map(Sealed::keyid).collect();
    let ids: Vec<_> = ids.into_iter().collect();
    let rows = store::key::by_id(&ctx.db, &ids).await?;
    rows.iter().map(|row| Ok((row.keyid().to_owned(), row.trusted()?))).collect()
}
