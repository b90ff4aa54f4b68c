//! Muster as its users meet it: the whole plane with real agents, over real HTTP.

#![expect(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says so")]

mod agent_line;
mod answer;
mod deployed;
mod doors;
mod fleet;
mod flow;
mod fuzz;
mod harness;
mod idempotency;
mod keys;
mod lambda;
mod mysql;
mod process;
mod proxy;
mod spec;
mod stack;
mod steps;
mod trace;
mod vhost;
mod work;
