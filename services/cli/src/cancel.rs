//! `muster cancel`.

use reqwest::Method;
use shared::contract::task::Task;
use shared::error::Result;
use shared::id::TaskId;

use crate::document::Document;
use crate::exit::Exit;
use crate::parse;
use crate::plane::Session;
use crate::tally::tally;

/// Cancels a task: what is not sent is taken back, what runs is told to stop
#[derive(clap::Args)]
#[command(after_help = "Example:\n  muster cancel 0198f2b4c3d27a6e8b1f0c9d5e4a3b21")]
pub struct Args {
    /// The task's id
    #[arg(value_parser = parse::task_id)]
    task: TaskId,
}

/// Asks for it. The servers answer in their own time, so the states that are shown may still change.
pub async fn run(args: Args, mut session: Session) -> Result<Exit> {
    let path = format!("/api/tasks/{}/cancel", args.task);
    let task: Document<Task> = session.client.ask(Method::POST, &path).await?;
    session
        .show(&task, |out, task| out.line(&format!("cancel of task {} is on its way: {}", task.task_id, tally(task))))
}
