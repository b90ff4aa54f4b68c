//! The binary `muster`: the command line of the control plane.

mod age;
mod args;
mod audit_task;
mod cancel;
mod dead;
mod demo;
mod document;
mod exit;
mod fleet;
mod health;
mod keys;
mod migrate;
mod outcome;
mod parse;
mod plane;
mod results;
mod retry;
mod run;
mod servers;
mod table;
mod tally;
mod tasks;
mod terminal;
mod up;
mod verify;
mod why;

#[tokio::main]
async fn main() -> std::process::ExitCode {
    args::run().await.into()
}
