//! `muster run`: sends a command and follows it to its end. Sending is safe to repeat, because each
//! attempt carries the same `Idempotency-Key`; following only reads, so leaving it changes nothing.

mod follow;
pub mod interrupt;
mod picture;
pub mod post;
pub mod progress;

use clap::ArgGroup;
use serde::Serialize;
use shared::contract::task::{NewCommand, TargetType, Task};
use shared::error::Result;
use shared::id;
use shared::name::Hostname;
use shared::rules::limits::{EXPIRES_IN_SECS_MAX, ROLLOUT_EXPIRES_IN_SECS_MAX, TIMEOUT_SECS_MAX};
use shared::rules::rollout::Limit;

use crate::exit::Exit;
use crate::plane::Session;
use crate::tally::tally;
use crate::{outcome, parse, terminal};
use interrupt::unless_interrupted;
use picture::Picture;

/// Runs a command on a server, a group or all, and shows what comes of it
#[derive(clap::Args)]
#[command(group(ArgGroup::new("target").required(true).args(["node", "group", "all"])))]
#[command(after_help = format!("\
Examples:
  muster run --node web-1 -- uptime
  muster run --group web --timeout 300 --user deploy -- systemctl restart nginx
  muster run --all --max-concurrency 10% --max-errors 1 -- apt-get -y upgrade
  muster run --all --no-wait -- 'df -h | tail -1'

{}

Exit status:
  0    every server succeeded (with --no-wait: the command is accepted)
  1    some server did not succeed, or there was none
  2    bad usage, or the control plane refused (4xx)
  3    the control plane cannot be reached or is in trouble (5xx)
  130  left with Ctrl-C; the task goes on", outcome::MARKS))]
pub struct Args {
    /// On this server
    #[arg(long, value_name = "HOSTNAME", value_parser = parse::hostname)]
    node: Option<Hostname>,
    /// On every server of this group
    #[arg(long)]
    group: Option<String>,
    /// On every server
    #[arg(long)]
    all: bool,
    /// How long it may run, in seconds [default: 30]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(i64).range(1..=TIMEOUT_SECS_MAX))]
    timeout: Option<i64>,
    /// The account to run as; the agent's own when absent
    #[arg(long)]
    user: Option<String>,
    /// How long it may wait for its server, in seconds [default: 3600]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(i64).range(1..=EXPIRES_IN_SECS_MAX))]
    expires_in: Option<i64>,
    /// How many servers run it at a time, such as 5 or 10%; all of them when absent
    #[arg(long, value_name = "LIMIT", value_parser = parse::concurrency)]
    max_concurrency: Option<Limit>,
    /// Stop when more than this many did not succeed, such as 1 or 5% [default with --max-concurrency: 0]
    #[arg(long, value_name = "LIMIT", value_parser = parse::limit)]
    max_errors: Option<Limit>,
    /// How long servers may go on being started, in seconds; what the roll-out can need when absent
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(i64).range(1..=ROLLOUT_EXPIRES_IN_SECS_MAX))]
    rollout_expires_in: Option<i64>,
    /// Print the task's id and do not wait for results
    #[arg(long)]
    no_wait: bool,
    /// Ask again under the same key, and it is the same task; random when absent
    #[arg(long, value_name = "IDEMPOTENCY_KEY", value_parser = parse::idempotency_key)]
    key: Option<String>,
    /// Text for `/bin/sh -c`; several words are joined by blanks
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

/// Sends a command and shows each server's outcome once it is known.
pub async fn send_and_follow(session: &mut Session, command: &NewCommand) -> Result<Picture> {
    let task = post::post(&session.client, post::COMMANDS, command, &id::random()).await?;
    follow::follow(session, Picture::of(task)).await
}

/// Sends, follows, sums up.
pub async fn run(args: Args, mut session: Session) -> Result<Exit> {
    let key = args.key.clone().unwrap_or_else(id::random);
    let command = command(&args);
    ask(&mut session, (post::COMMANDS, &command), &key, args.no_wait).await
}

/// Asks for a task under a key, follows it unless nobody waits, and sums up.
pub async fn ask<T: Serialize + Sync>(
    session: &mut Session,
    (path, body): (&str, &T),
    key: &str,
    no_wait: bool,
) -> Result<Exit> {
    let advice = format!("left before the answer; add `--key {key}` to ask again without running it twice");
    let posting = post::post(&session.client, path, body, key);
    let Some(task) = unless_interrupted(posting, &advice).await? else { return Ok(Exit::Interrupted) };
    if no_wait {
        return accepted(session, Picture::of(task));
    }
    let advice = format!("left task {0}, which goes on; look at it with `muster results {0}`", task.task_id);
    let following = follow::follow(session, Picture::of(task));
    let Some(picture) = unless_interrupted(following, &advice).await? else { return Ok(Exit::Interrupted) };
    session.show(&picture, |out, picture| out.line(&summary(&picture.task)))?;
    Ok(verdict(&picture.task))
}

fn command(args: &Args) -> NewCommand {
    let (target_type, target) = match (&args.node, &args.group) {
        (Some(node), _) => (TargetType::Node, Some(node.to_string())),
        (None, Some(group)) => (TargetType::Group, Some(group.clone())),
        (None, None) => (TargetType::All, None),
    };
    NewCommand {
        target_type,
        target,
        command: args.command.join(" "),
        timeout: args.timeout,
        user: args.user.clone(),
        expires_in: args.expires_in,
        max_concurrency: args.max_concurrency,
        max_errors: args.max_errors,
        rollout_expires_in: args.rollout_expires_in,
    }
}

/// The id alone on standard output, for `$(…)`.
fn accepted(session: &mut Session, picture: Picture) -> Result<Exit> {
    session.show(&picture, |out, picture| out.line(&picture.task.task_id))?;
    if picture.task.targets == 0 {
        terminal::complain("the command is accepted, but there is no server to run it");
        return Ok(Exit::Shortfall);
    }
    Ok(Exit::Success)
}

/// What came of a task, in one line.
pub fn summary(task: &Task) -> String {
    match task.targets {
        0 => format!("task {}: there is no server to run it", task.task_id),
        _ => format!("task {}: {}", task.task_id, tally(task)),
    }
}

/// Whether every server succeeded.
pub fn verdict(task: &Task) -> Exit {
    let succeeded = task.counts.get("succeeded").copied().unwrap_or(0);
    if task.targets > 0 && succeeded == task.targets { Exit::Success } else { Exit::Shortfall }
}

#[cfg(test)]
mod tests;
