//! The run-mode seam. A service is a value: routes, consumers and chores. Building it does not run
//! it; something else does, alone in a process or together with the others.

mod boot;
mod broker;
mod chore;
mod lambda;
pub mod probe;
mod ready;
mod standalone;

use std::time::Duration;

use axum::Router;
use axum::routing::get;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use boot::{Boot, database};
pub use broker::broker;
pub use chore::{Bell, Chore, Work};
pub use probe::Readiness;
pub use standalone::{Program, Termination, main};

use crate::bus::{self, Bus, Consumer};
use crate::clock::Clock;
use crate::db::Db;
use crate::metrics;
use probe::{Parts, Probe};

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
    /// Its routes, with the probes that every service has, on what it stands on.
    pub fn router(&self, parts: Parts) -> Router {
        let attached = |consumer: &Consumer| (consumer.queue.clone(), consumer.attached.clone());
        let probe = Probe { parts, consumers: self.consumers.iter().map(attached).collect() };
        let probes = Router::new().route("/livez", get(async || "ok")).route("/readyz", get(probe::ready));
        self.routes.clone().merge(probes.with_state(probe)).merge(metrics::routes())
    }
}

/// Consumers and chores at work.
#[derive(Debug, Default)]
pub struct Workers {
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Workers {
    /// Puts a service's consumers and chores to work. Only a service that consumes nothing can do
    /// without a bus.
    pub fn start(&self, service: Service, bus: Option<&Bus>) {
        for (consumer, bus) in service.consumers.into_iter().zip(bus.into_iter().cycle()) {
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
