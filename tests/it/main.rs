//! Muster as its users meet it: the whole plane with real agents, over real HTTP.

#![expect(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says so")]

mod agent_line;
mod answer;
mod connections;
mod dead;
mod deployed;
mod doctor;
mod doors;
mod fleet;
mod flood;
mod flow;
mod fuzz;
mod handover;
mod harness;
mod idempotency;
mod isolation;
mod key_changes;
mod keys;
mod lambda;
mod mysql;
mod presence;
mod process;
mod proxy;
mod retention;
mod rollout;
mod spec;
mod stack;
mod steps;
mod trace;
mod vhost;
mod work;
