//! The inventory: which servers there are, and which key speaks for each.
//!
//! A server's row and the order to give it a queue are written in one transaction; the relay carries
//! the order out, so inventory itself never talks to the broker.

mod client_key;
mod server;

use axum::Router;
use shared::clock::Clock;
use shared::db::Db;
use shared::run::{Bell, Service};

/// What the handlers work with.
#[derive(Clone)]
struct Inventory {
    db: Db,
    clock: Clock,
    /// Rung when there is something in the outbox.
    bell: Bell,
}

/// The service. Rings `bell` when there is something for the relay.
pub fn service(db: Db, clock: Clock, bell: Bell) -> Service {
    let routes = Router::new().merge(server::routes()).merge(client_key::routes());
    let routes = routes.with_state(Inventory { db, clock, bell });
    Service { name: "inventory", routes, consumers: Vec::new(), chores: Vec::new() }
}
