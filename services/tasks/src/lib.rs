//! The tasks service: commands are accepted here, and what became of them is read here.
//!
//! A command is one transaction: task, invocations, outbox rows and the signed command are stored
//! together, before the answer. From then on the relay and the watchdog carry it to its end, both
//! as step functions that read the tables and remember nothing.

mod backlog;
mod cancel;
mod command;
mod dispatch;
mod evidence;
mod invocation;
mod relay;
mod result;
mod signing_key;
mod task;
mod watchdog;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use shared::error::Result;
use shared::run::{Bell, Chore, Context, Service};
use shared::sign::SigningKey;
use shared::store;

pub use relay::Relay;
pub use watchdog::Watchdog;

/// How often the relay looks at the outbox without being rung for.
const RELAY_EVERY: Duration = Duration::from_secs(1);
/// How often the watchdog looks for invocations whose time is over.
const WATCHDOG_EVERY: Duration = Duration::from_secs(5);

/// What the handlers work with.
#[derive(Clone)]
struct Tasks {
    ctx: Context,
    key: Arc<SigningKey>,
}

/// The service. Notes `key` among the plane's keys, so that agents and auditors can find it.
pub async fn service(ctx: Context, key: Arc<SigningKey>) -> Result<Service> {
    store::signing_key::remember(&ctx.db, &key, ctx.clock.now()).await?;
    let chores = vec![relay_chore(&ctx), watchdog_chore(&ctx), backlog::chore(&ctx)];
    Ok(Service { name: "tasks", routes: routes(Tasks { ctx, key }), consumers: Vec::new(), chores })
}

fn routes(tasks: Tasks) -> Router {
    Router::new()
        .merge(command::routes())
        .merge(task::routes())
        .merge(cancel::routes())
        .merge(invocation::routes())
        .merge(result::routes())
        .merge(evidence::routes())
        .merge(signing_key::routes())
        .with_state(tasks)
}

fn relay_chore(ctx: &Context) -> Chore {
    let relay = Relay::new(ctx.clone());
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
