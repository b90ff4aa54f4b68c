//! Sending the tasks and watching them end. The task is small and says how many results are stored, so
//! looking often disturbs little and tells the time of the first and the last to a hundredth of a second.

use std::time::Duration;

use shared::contract::task::{NewCommand, TargetType, Task};
use shared::error::Result;
use shared::http::client::Client;
use shared::id;
use tokio::time::{Instant, sleep};

use super::Args;
use super::figures::{Figures, TaskFigures};
use super::line::Lines;
use super::spent;
use crate::run::post::{COMMANDS, post};
use crate::run::progress::Progress;
use crate::tally::open;

/// Between two looks at a task.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How long a task may wait for its servers, in seconds.
const EXPIRES_IN_SECS: i64 = 600;
/// How long a task is followed. What is not stored by then counts as missing.
const FOLLOWED_MAX: Duration = Duration::from_secs(300);

/// Sends the tasks one after another and takes their times.
pub async fn measure(args: &Args, client: &Client, lines: &mut Lines) -> Result<Figures> {
    let (process, signing) = (spent::of_process()?, lines.spent().signing());
    let mut tasks = Vec::new();
    for _ in 0..args.tasks {
        tasks.push(tokio::select! {
            task = one(args, client) => task?,
            error = lines.failed() => return Err(error),
        });
    }
    Ok(Figures {
        agents: args.agents,
        key_bits: args.key_bits.bits(),
        tasks,
        refused: lines.spent().refused(),
        cpu_seconds: spent::of_process()?.saturating_sub(process).as_secs_f64(),
        signing_cpu_seconds: lines.spent().signing().saturating_sub(signing).as_secs_f64(),
    })
}

async fn one(args: &Args, client: &Client) -> Result<TaskFigures> {
    let (command, key, progress) = (command(args), id::random(), Progress::new());
    let began = Instant::now();
    let posted = post(client, COMMANDS, &command, &key).await?;
    let mut figures = TaskFigures::answered(&posted, began.elapsed());
    let path = format!("/api/tasks/{}", posted.task_id);
    loop {
        let task: Task = client.get(&path).await?;
        figures.see(&task, began.elapsed());
        if open(&task) == 0 || began.elapsed() > FOLLOWED_MAX {
            return Ok(figures);
        }
        progress.show(&task);
        sleep(LOOK_EVERY).await;
    }
}

fn command(args: &Args) -> NewCommand {
    NewCommand {
        target_type: TargetType::Group,
        target: Some(args.group.clone()),
        command: args.command.clone(),
        timeout: None,
        user: None,
        expires_in: Some(EXPIRES_IN_SECS),
        max_concurrency: None,
        max_errors: None,
        rollout_expires_in: None,
    }
}
