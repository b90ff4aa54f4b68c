//! How long the line before the relay is, looked at by the clock and not by the relay itself: the
//! number matters most when the relay is stuck.

use std::sync::Arc;
use std::time::Duration;

use shared::error::Result;
use shared::metrics;
use shared::run::{Bell, Chore, Context};
use shared::store::outbox;

/// How often it is looked at.
const EVERY: Duration = Duration::from_secs(10);

pub fn chore(ctx: &Context) -> Chore {
    let ctx = ctx.clone();
    let work = Arc::new(move || {
        let ctx = ctx.clone();
        Box::pin(async move { measure(&ctx).await }) as _
    });
    Chore { name: "backlog", every: EVERY, bell: Bell::default(), work }
}

async fn measure(ctx: &Context) -> Result<bool> {
    let (rows, oldest) = outbox::backlog(&ctx.db).await?;
    let now = ctx.clock.now();
    metrics::backlog(rows, oldest.map_or(Duration::ZERO, |oldest| oldest.until(now)));
    Ok(false)
}
