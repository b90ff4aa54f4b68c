//! `muster tasks`: what was asked, and how far it has come.

use clap::Subcommand;
use shared::clock::Time;
use shared::contract::task::{Invocation, Task};
use shared::error::Result;
use shared::id::TaskId;
use shared::rules::limits::PAGE_ROWS_MAX;

use crate::document::Document;
use crate::exit::Exit;
use crate::plane::Session;
use crate::table::{self, or_dash};
use crate::tally::{open, tally};
use crate::terminal::Out;
use crate::why::why;
use crate::{age, parse};

/// How much of a command a list shows, in characters.
const COMMAND_CHARS_SHOWN: usize = 40;

/// Lists the tasks, the newest first; shows one
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  muster tasks --limit 5\n  muster tasks show 0198f2b4c3d27a6e8b1f0c9d5e4a3b21")]
pub struct Args {
    /// How many
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=PAGE_ROWS_MAX as u64))]
    limit: u64,
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Subcommand)]
enum Verb {
    Show(Show),
}

/// Shows one task with every server's state, and why what is open is still open
#[derive(clap::Args)]
#[command(after_help = "Example:\n  muster tasks show 0198f2b4c3d27a6e8b1f0c9d5e4a3b21")]
struct Show {
    /// The task's id
    #[arg(value_parser = parse::task_id)]
    task: TaskId,
}

/// Does what is asked.
pub async fn run(args: Args, session: Session) -> Result<Exit> {
    match args.verb {
        None => list(args.limit, session).await,
        Some(Verb::Show(args)) => show(args, session).await,
    }
}

async fn list(limit: u64, mut session: Session) -> Result<Exit> {
    let tasks: Vec<Document<Task>> = session.client.get_with("/api/tasks", &[("limit", &limit.to_string())]).await?;
    let header = ["TASK ID", "STATUS", "TARGET", "COMMAND", "DONE", "CREATED"];
    let now = session.now;
    session.show(&tasks, |out, tasks| table::show(out, header, tasks.iter().map(|task| row(task, now))))
}

fn row(task: &Task, now: Time) -> [String; 6] {
    [
        task.task_id.clone(),
        task.status.as_str().to_owned(),
        target(task),
        shortened(&task.command),
        format!("{}/{}", task.targets - open(task), task.targets),
        age::ago(task.created_at, now),
    ]
}

fn target(task: &Task) -> String {
    match &task.target {
        Some(target) => format!("{} {target}", task.target_type.as_str()),
        None => task.target_type.as_str().to_owned(),
    }
}

fn shortened(command: &str) -> String {
    match command.char_indices().nth(COMMAND_CHARS_SHOWN) {
        Some((end, _)) => format!("{}…", &command[..end]),
        None => command.to_owned(),
    }
}

/// What `show` prints for programs.
#[derive(serde::Serialize)]
struct Whole {
    task: Document<Task>,
    invocations: Vec<Document<Invocation>>,
}

async fn show(args: Show, mut session: Session) -> Result<Exit> {
    let path = format!("/api/tasks/{}", args.task);
    let task = session.client.get(&path).await?;
    let invocations = session.client.get(&format!("{path}/invocations")).await?;
    let now = session.now;
    session.show(&Whole { task, invocations }, |out, whole| {
        details(out, &whole.task, now)?;
        out.line("")?;
        let header = ["HOSTNAME", "STATUS", "EXIT", "WHY"];
        table::show(out, header, whole.invocations.iter().map(|invocation| state(invocation, now)))
    })
}

fn details(out: &mut Out, task: &Task, now: Time) -> Result<()> {
    let mut pairs = vec![
        ("task", task.task_id.clone()),
        ("status", format!("{} ({})", task.status.as_str(), tally(task))),
        ("target", target(task)),
        ("command", task.command.clone()),
        ("user", or_dash(task.user.as_ref())),
        ("timeout", format!("{} s", task.timeout)),
        ("created", format!("{} ({})", task.created_at, age::ago(task.created_at, now))),
        ("trace", task.trace_id.clone()),
    ];
    if let (Some(window), Some(errors)) = (task.max_concurrency, task.max_errors) {
        pairs.push(("roll-out", format!("{window} at a time; stops after more than {errors} did not succeed")));
    }
    if let Some(first) = &task.retry_of {
        pairs.push(("retry of", first.clone()));
    }
    if let Some(at) = task.cancel_requested_at {
        pairs.push(("cancel", format!("asked for {}", age::ago(at, now))));
    }
    if open(task) > 0 {
        pairs.push(("expires", format!("{}; nothing starts after this", task.expires_at)));
        pairs.push(("deadline", format!("{}; by then every state is decided", task.deadline)));
    }
    table::pairs(out, &pairs)
}

fn state(invocation: &Invocation, now: Time) -> [String; 4] {
    let status = invocation.status.as_str().to_owned();
    [invocation.hostname.clone(), status, or_dash(invocation.exit_code), why(invocation, now)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_command_is_cut_between_characters() {
        assert_eq!(shortened("uptime"), "uptime");
        let cut = shortened(&"前".repeat(50));
        assert_eq!(cut.chars().count(), COMMAND_CHARS_SHOWN + 1);
        assert!(cut.ends_with('…'));
    }
}
