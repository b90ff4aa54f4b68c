//! The result ingestor: takes what agents report, believes what is signed, and stores it.
//!
//! A batch is verified message by message and stored in one transaction; a message that is refused
//! goes to the dead letters with its reason and holds nobody up. Acknowledgements come after the
//! commit, so what is lost on the way is delivered again, and what comes twice changes nothing.

mod dead;
mod heartbeats;
mod refusals;
mod results;
mod runs;
mod verify;

use std::sync::Arc;

use shared::bus::{Consumer, topology};
use shared::run::{Bell, Context, Service};

pub use refusals::Refusals;

/// The most reports in one transaction.
const BATCH_MAX: usize = 200;

/// The service.
pub fn service(ctx: Context) -> Service {
    let refusals = Arc::new(Refusals::default());
    let results = results::Results::new(ctx.clone(), Arc::clone(&refusals));
    let heartbeats = heartbeats::Heartbeats::new(ctx.clone(), refusals);
    let dead = dead::DeadLetters::new(ctx.clone());
    let replay = Bell::default();
    let consumers = vec![
        Consumer::new(topology::RESULTS, BATCH_MAX, Arc::new(results)),
        Consumer::new(topology::HEARTBEATS, BATCH_MAX, Arc::new(heartbeats)),
        Consumer::new(topology::DEAD, BATCH_MAX, Arc::new(dead)),
    ];
    let chores = vec![dead::chore(&ctx, replay.clone())];
    Service { name: "result-ingestor", routes: dead::routes(ctx, replay), consumers, chores }
}
