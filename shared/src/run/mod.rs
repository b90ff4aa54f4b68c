//! The run-mode seam. A service is a value: routes, consumers and chores. Building it does not run
//! it; something else does, alone in a process or together with the others.

mod chore;
mod standalone;

use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use chore::{Bell, Chore};
pub use standalone::{Termination, main};

use crate::bus::{self, Bus, Consumer};
use crate::clock::Clock;
use crate::db::Db;
use crate::error::Result;

/// How long consumers and chores may take to finish at a stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);

/// What every service of the plane is built from.
#[derive(Clone, Debug)]
pub struct Context {
    /// The database.
    pub db: Db,
    /// The broker.
    pub bus: Bus,
    /// The time.
    pub clock: Clock,
    /// Rung when there is something in the outbox.
    pub bell: Bell,
}

/// A service, built and not yet running.
pub struct Service {
    /// Its name in logs.
    pub name: &'static str,
    /// What it answers.
    pub routes: Router,
    /// What it takes from the broker.
    pub consumers: Vec<Consumer>,
    /// What it does by the clock and by the bell.
    pub chores: Vec<Chore>,
}

impl Service {
    /// Its routes, with the probes that every service has.
    pub fn router(&self, db: Db) -> Router {
        let probes = Router::new().route("/livez", get(async || "ok")).route("/readyz", get(ready)).with_state(db);
        self.routes.clone().merge(probes)
    }
}

async fn ready(State(db): State<Db>) -> Result<&'static str> {
    db.ping().await.map(|()| "ok")
}

/// Consumers and chores at work.
#[derive(Debug, Default)]
pub struct Workers {
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Workers {
    /// Puts a service's consumers and chores to work.
    pub fn start(&self, service: Service, bus: &Bus) {
        for consumer in service.consumers {
            self.tasks.spawn(bus::consume::run(bus.clone(), consumer, self.stop.clone()));
        }
        for chore in service.chores {
            self.tasks.spawn(chore.run(self.stop.clone()));
        }
    }

    /// Tells all to stop and waits until they have, for a limited time.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        if tokio::time::timeout(STOP_TIMEOUT, self.tasks.wait()).await.is_err() {
            tracing::warn!("some work did not stop in time; what it left undone is done at the next start");
        }
    }
}
