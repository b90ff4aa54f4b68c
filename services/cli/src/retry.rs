//! `muster retry`: a task once more, for the servers that did not succeed.

use serde_json::json;
use shared::error::Result;
use shared::id::{self, TaskId};

use crate::exit::Exit;
use crate::plane::Session;
use crate::{outcome, parse, run};

/// Runs a task's command again on the servers that did not succeed, as a new task
#[derive(clap::Args)]
#[command(after_help = format!("\
Examples:
  muster retry 0198f2b4c3d27a6e8b1f0c9d5e4a3b21
  muster retry 0198f2b4c3d27a6e8b1f0c9d5e4a3b21 --no-wait

A server whose outcome is only guessed (expired, lost, undeliverable) may still be running the first
command. A roll-out is retried as a roll-out.

{}

Exit status: as for `muster run`.", outcome::MARKS))]
pub struct Args {
    /// The task's id
    #[arg(value_parser = parse::task_id)]
    task: TaskId,
    /// Print the new task's id and do not wait for results
    #[arg(long)]
    no_wait: bool,
    /// Ask again under the same key, and it is the same task; random when absent
    #[arg(long, value_name = "IDEMPOTENCY_KEY", value_parser = parse::idempotency_key)]
    key: Option<String>,
}

/// Asks for it, follows it, sums up.
pub async fn run(args: Args, mut session: Session) -> Result<Exit> {
    let key = args.key.unwrap_or_else(id::random);
    let path = format!("/api/tasks/{}/retry", args.task);
    run::ask(&mut session, (&path, &json!({})), &key, args.no_wait).await
}
