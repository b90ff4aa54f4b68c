//! `/livez`, which says that the process runs, and `/readyz`, which says of each of its parts whether
//! it works. A service is ready when it can do its main work: one that consumes needs the broker, one
//! that only sends does not, because what it accepts waits in the outbox.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;

use crate::bus::Bus;
use crate::db::Db;
use crate::error::{Result, chain};

/// What a part that works is called.
pub const OK: &str = "ok";
/// What one that does not work is called.
const AWAY: &str = "away";

/// How each part of a service is: the body of `/readyz`.
pub type Readiness = BTreeMap<String, String>;

/// What a service stands on.
#[derive(Clone, Debug, Default)]
pub struct Parts {
    /// Its database.
    pub db: Option<Db>,
    /// Its broker.
    pub bus: Option<Bus>,
}

impl Parts {
    /// Closes what has to be closed.
    pub async fn close(self) {
        if let Some(db) = self.db {
            db.close().await;
        }
    }
}

/// A consumer's hold on its queue, as the probes see it.
#[derive(Clone, Debug, Default)]
pub struct Attached(Arc<AtomicBool>);

impl Attached {
    /// Notes whether it has a hold now.
    pub fn set(&self, attached: bool) {
        self.0.store(attached, Ordering::Relaxed);
    }

    fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What the probes look at.
#[derive(Clone, Debug)]
pub struct Probe {
    /// What the service stands on.
    pub parts: Parts,
    /// Its consumers, by queue.
    pub consumers: Vec<(String, Attached)>,
}

impl Probe {
    async fn readiness(&self) -> Readiness {
        let mut readiness = Readiness::new();
        let mut note = |part: &str, outcome: Result<()>| {
            if let Err(error) = &outcome {
                tracing::warn!(part, cause = chain(error), "not ready");
            }
            readiness.insert(part.to_owned(), if outcome.is_ok() { OK } else { AWAY }.to_owned());
        };
        if let Some(db) = &self.parts.db {
            note("database", db.ping().await);
        }
        if let Some(bus) = &self.parts.bus {
            note("broker", bus.ping().await);
        }
        for (queue, attached) in &self.consumers {
            readiness.insert(format!("consumer {queue}"), if attached.get() { OK } else { AWAY }.to_owned());
        }
        readiness
    }

    fn is_ready(&self, readiness: &Readiness) -> bool {
        readiness.iter().all(|(part, state)| state == OK || (part == "broker" && self.consumers.is_empty()))
    }
}

/// `GET /readyz`.
pub async fn ready(State(probe): State<Probe>) -> Response {
    let readiness = probe.readiness().await;
    let status = if probe.is_ready(&readiness) { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(readiness)).into_response()
}
