//! `muster results`: what each server's command printed. Servers without a result are shown too,
//! with the reason: a list that leaves them out reads as if all were well.

use std::collections::BTreeMap;

use shared::contract::task::{Invocation, TaskResult};
use shared::error::{Error, Result};
use shared::id::TaskId;
use shared::name::Hostname;

use crate::document::Document;
use crate::exit::Exit;
use crate::plane::Session;
use crate::{outcome, parse};

/// Shows each server's state, exit code and output
#[derive(clap::Args)]
#[command(after_help = format!("\
Examples:
  muster results 0198f2b4c3d27a6e8b1f0c9d5e4a3b21
  muster results 0198f2b4c3d27a6e8b1f0c9d5e4a3b21 --host web-1

{}", outcome::MARKS))]
pub struct Args {
    /// The task's id
    #[arg(value_parser = parse::task_id)]
    task: TaskId,
    /// Only this server's
    #[arg(long, value_name = "HOSTNAME", value_parser = parse::hostname)]
    host: Option<Hostname>,
}

/// Reads and shows them.
pub async fn run(args: Args, mut session: Session) -> Result<Exit> {
    let path = format!("/api/tasks/{}", args.task);
    let wanted = |hostname: &str| args.host.as_ref().is_none_or(|host| host.as_str() == hostname);
    // In this order: whatever the invocations call finished has its result among the results.
    let mut invocations: Vec<Document<Invocation>> = session.client.get(&format!("{path}/invocations")).await?;
    let mut results: Vec<Document<TaskResult>> = session.client.get(&format!("{path}/results")).await?;
    invocations.retain(|invocation| wanted(&invocation.hostname));
    results.retain(|result| wanted(&result.hostname));
    if let Some(host) = args.host.filter(|_| invocations.is_empty()) {
        return Err(Error::not_found(format!("the task was not meant for {host}")));
    }
    let now = session.now;
    session.show(&results, |out, results| {
        let results: BTreeMap<_, _> = results.iter().map(|result| (result.hostname.as_str(), &**result)).collect();
        invocations.iter().try_for_each(|invocation| {
            outcome::show(out, invocation, results.get(invocation.hostname.as_str()).copied(), now)
        })
    })
}
