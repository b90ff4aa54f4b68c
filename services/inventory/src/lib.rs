//! The inventory: which servers there are, and which key speaks for each.
//!
//! A server's row and the order to give it a queue are written in one transaction; the relay carries
//! the order out, so inventory itself never talks to the broker.

mod client_key;
mod server;

use axum::Router;
use shared::run::{Context, Service};

/// The service.
pub fn service(ctx: Context) -> Service {
    let routes = Router::new().merge(server::routes()).merge(client_key::routes()).with_state(ctx);
    Service { name: "inventory", routes, consumers: Vec::new(), chores: Vec::new() }
}
