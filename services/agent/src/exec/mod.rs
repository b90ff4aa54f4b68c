//! The execution room: it starts a command on this server, watches it, and ends it.
//!
//! Nothing here knows of signatures, policy, journals or brokers. A [`Job`] comes in, already
//! allowed; an [`Outcome`] goes out. [`Exec`] is the seam between the agent and the operating
//! system: real processes in production, a script in tests and in the simulator.
//!
//! The life of a job is split at the fork. [`Exec::start`] returns as soon as the shell runs, with
//! a [`Mark`] for the journal; [`Running::finish`] follows it to its end. Should the agent die in
//! between, [`kill_leftovers`] uses the mark to end what is left. All of the crate's `unsafe` is in
//! `child.rs`.

mod account;
mod cgroup;
mod child;
mod family;
mod leftovers;
mod output;
mod proc;
mod process;
mod reaper;
mod scripted;
mod shell;

use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use account::{Account, AccountError};
pub use cgroup::of as cgroup_of;
pub use leftovers::{Leftovers, kill_leftovers};
pub use output::Captured;
pub use process::{Limits, Process, StartError};
pub use scripted::{Script, Scripted};

/// One command to run on this server.
#[derive(Clone, Debug)]
pub struct Job {
    pub task_id: String,
    pub hostname: String,
    /// What `/bin/sh -c` is given.
    pub command: String,
    pub account: Account,
    /// How long the command may run, counted from its start.
    pub timeout: Duration,
    /// The W3C trace context, passed on as `TRACEPARENT`.
    pub traceparent: Option<String>,
}

/// What runs jobs.
pub enum Exec {
    Process(Process),
    Scripted(Scripted),
}

impl Exec {
    /// Starts the job and returns once its shell runs. Blocks for about a millisecond, and for as long
    /// as entering the user's home does: one on a dead network file system belongs on a blocking
    /// thread. Must be called inside a Tokio runtime.
    ///
    /// # Errors
    /// When no process came into being: see [`StartError`]. Nothing of the job is left then.
    pub fn start(&self, job: &Job) -> Result<Running, StartError> {
        let kind = match self {
            Exec::Process(process) => Kind::Process(Box::new(process.start(job)?)),
            Exec::Scripted(scripted) => Kind::Scripted(scripted.start(job)?),
        };
        Ok(Running(kind))
    }
}

/// A job that has started. Dropped unfinished, it is killed, as far as that takes no waiting.
pub struct Running(Kind);

enum Kind {
    Process(Box<shell::Shell>),
    Scripted(scripted::Playing),
}

impl Running {
    /// Where to find the job's processes after a crash of the agent. `None` for a scripted job, and
    /// where `/proc` cannot be read.
    pub fn mark(&self) -> Option<&Mark> {
        match &self.0 {
            Kind::Process(shell) => shell.mark(),
            Kind::Scripted(_) => None,
        }
    }

    /// Follows the job to its end: by itself, at its timeout, or once `cancel` completes.
    pub async fn finish(self, cancel: impl Future<Output = ()>) -> Outcome {
        match self.0 {
            Kind::Process(shell) => shell.finish(cancel).await,
            Kind::Scripted(playing) => playing.finish(cancel).await,
        }
    }
}

/// What identifies a job's processes for as long as this boot lasts. Meant for the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The shell's process id: also its process group and its session.
    pub pid: i32,
    /// When the shell was started, in clock ticks since boot. With `pid` it names one process only.
    pub start_ticks: u64,
    /// The kernel's id of this boot. Ticks begin anew with each boot, so a mark ends with its boot.
    pub boot_id: String,
    /// The job's own cgroup, where one could be made.
    pub cgroup: Option<PathBuf>,
}

/// How a job ended, and what it wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub end: End,
    pub stdout: Captured,
    pub stderr: Captured,
    /// Something of the job survived being killed.
    pub leaked: bool,
}

impl Outcome {
    /// An outcome that wrote only `stdout`: what a script mostly wants to say.
    pub fn new(end: End, stdout: &str) -> Self {
        Self { end, stdout: Captured::from(stdout), stderr: Captured::default(), leaked: false }
    }
}

/// Why a job is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// By itself, with this exit code (0 to 255).
    Exited(i32),
    /// By a signal that the agent did not send.
    Signalled(i32),
    TimedOut,
    Cancelled,
    /// It is over, but the kernel would not say how. This happens where the agent's parent made it
    /// ignore SIGCHLD, so that the kernel throws exit codes away.
    Unknown,
}
