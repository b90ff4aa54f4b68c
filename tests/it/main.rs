//! Muster as its users meet it: the whole plane with real agents, over real HTTP.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says so")]

mod agent_line;
mod answer;
mod doors;
mod flow;
mod fuzz;
mod harness;
mod idempotency;
mod keys;
mod spec;
mod steps;
mod work;
