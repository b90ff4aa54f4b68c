//! The tasks service: commands are accepted here, and what became of them is read here.
//!
//! A command is one transaction: task, invocations, outbox rows and the signed command are stored
//! together, before the answer. From then on the relay, the roll-out and the watchdog carry it
//! to its end, all of them step functions that read the tables and remember nothing.

mod backlog;
mod cancel;
mod command;
mod conflict;
mod dispatch;
mod evidence;
mod handover;
mod invocation;
mod relay;
mod result;
mod retention;
mod retry;
mod rollout;
mod signing_key;
mod task;
mod watchdog;
mod wave;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use handover::Handover;
use shared::config::Keep;
use shared::error::Result;
use shared::run::{Bell, Chore, Context, Service};
use shared::sign::SigningKey;
use shared::store;

pub use relay::Relay;
pub use retention::Retention;
pub use rollout::Rollout;
pub use watchdog::Watchdog;

/// How often the relay looks at the outbox without being rung for.
const RELAY_EVERY: Duration = Duration::from_secs(1);
/// How often the roll-outs are looked at.
const ROLLOUT_EVERY: Duration = Duration::from_secs(1);
/// How often the watchdog looks for invocations whose time is over.
const WATCHDOG_EVERY: Duration = Duration::from_secs(5);

/// What the handlers work with.
#[derive(Clone)]
struct Tasks {
    ctx: Context,
    key: Arc<SigningKey>,
    handover: Handover,
}

/// The service, which keeps of the past what `keep` says. Notes `key` among the plane's keys, so that
/// agents and auditors can find it.
pub async fn service(ctx: Context, key: Arc<SigningKey>, keep: Keep) -> Result<Service> {
    store::signing_key::remember(&ctx.db, &key, ctx.clock.now()).await?;
    store::outbox::distrust(&ctx.db).await?;
    let handover = Handover::default();
    let chores = vec![
        rollout_chore(&ctx, &key),
        relay_chore(&ctx, handover.clone()),
        watchdog_chore(&ctx),
        backlog::chore(&ctx),
        retention::chore(&ctx, keep),
    ];
    Ok(Service { name: "tasks", routes: routes(Tasks { ctx, key, handover }), consumers: Vec::new(), chores })
}

fn routes(tasks: Tasks) -> Router {
    Router::new()
        .merge(command::routes())
        .merge(task::routes())
        .merge(cancel::routes())
        .merge(retry::routes())
        .merge(invocation::routes())
        .merge(result::routes())
        .merge(conflict::routes())
        .merge(evidence::routes())
        .merge(signing_key::routes())
        .with_state(tasks)
}

/// Has no bell: what lets a wave go happens in another program, the ingestor.
fn rollout_chore(ctx: &Context, key: &Arc<SigningKey>) -> Chore {
    let rollout = Rollout::new(ctx.clone(), Arc::clone(key));
    let work = Arc::new(move || {
        let rollout = rollout.clone();
        Box::pin(async move { rollout.step().await }) as _
    });
    Chore { name: "rollout", every: ROLLOUT_EVERY, bell: Bell::default(), work }
}

fn relay_chore(ctx: &Context, handover: Handover) -> Chore {
    let relay = Relay::with(ctx.clone(), handover);
    let work = Arc::new(move || {
        let relay = relay.clone();
        Box::pin(async move { relay.step().await }) as _
    });
    Chore { name: "relay", every: RELAY_EVERY, bell: ctx.bell.clone(), work }
}

fn watchdog_chore(ctx: &Context) -> Chore {
    let watchdog = Watchdog::new(ctx.clone());
    let work = Arc::new(move || {
        let watchdog = watchdog.clone();
        Box::pin(async move { watchdog.step().await }) as _
    });
    Chore { name: "watchdog", every: WATCHDOG_EVERY, bell: Bell::default(), work }
}
