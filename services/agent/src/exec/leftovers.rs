//! Ending what a crashed agent left running.
//!
//! A job that had started is never run again, and its result can no longer be told, so whatever is
//! left of it is killed without grace before it is reported as interrupted.

use std::path::Path;

use tokio::time::{Instant, sleep};

use super::family::{FIRST_PAUSE, Family};
use super::process::KILL;
use super::{Mark, cgroup, proc};

/// What [`kill_leftovers`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leftovers {
    /// Nothing was left.
    None,
    /// Something was, and is gone.
    Killed,
    /// Something was, and outlived two seconds of SIGKILL.
    Survived,
}

/// Kills what a crashed agent left of a job. Without a mark (the crash came between the fork and the
/// journal) its processes are known by their environment alone. A process that merely has the pid of
/// the mark is left in peace.
pub async fn kill_leftovers(task_id: &str, hostname: &str, mark: Option<&Mark>) -> Leftovers {
    if mark.is_some_and(|mark| mark.boot_id != proc::boot_id()) {
        return Leftovers::None;
    }
    let own = cgroup::own();
    let cgroup = match mark {
        Some(mark) => mark.cgroup.clone(),
        None => own.as_deref().and_then(|own| cgroup::path(own, task_id, hostname)),
    };
    // A command that restarted the agent may have started this one, inside of its own cgroup.
    let inside = |path: &_| own.as_ref().is_some_and(|own| own.starts_with(path));
    let cgroup = cgroup.filter(|path| !inside(path));
    let mut family = Family::new(task_id, hostname, mark, cgroup.clone());
    let found = !family.look().await.is_empty();
    let gone = family.kill(KILL).await;
    if let Some(cgroup) = cgroup {
        remove(&cgroup).await;
    }
    match (found, gone) {
        (_, false) => Leftovers::Survived,
        (true, true) => Leftovers::Killed,
        (false, true) => Leftovers::None,
    }
}

/// Here rather than at some later job's start, as it is for jobs of this agent's own.
async fn remove(cgroup: &Path) {
    let started = Instant::now();
    while !cgroup::remove(cgroup) && started.elapsed() < KILL {
        sleep(FIRST_PAUSE).await;
    }
}
