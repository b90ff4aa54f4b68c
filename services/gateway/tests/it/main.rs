//! The gateway over real sockets, in front of services that misbehave on purpose.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so")]

mod away;
mod bodies;
mod front;
mod headers;
mod health;
mod rate;
mod retries;
mod stub;
