//! A started job, from its shell's start to its outcome.
//!
//! A command that ends by itself is believed: what it left in the background, perhaps a daemon that
//! it was meant to start, is left alone. Only a job that is stopped, by its timeout or a cancel, is
//! ended altogether. While that lasts the shell is not waited for: a zombie keeps its number, and
//! with it the number of its group and session, from being used again.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::WaitStatus;
use tokio::time::{Instant, sleep, timeout};

use super::cgroup::{self, Cgroup};
use super::family::Family;
use super::output::Capture;
use super::reaper::Child;
use super::{End, Job, Limits, Mark, Outcome};

pub(super) struct Shell {
    child: Child,
    task_id: String,
    hostname: String,
    started: Instant,
    timeout: Duration,
    mark: Option<Mark>,
    cgroup: Option<Cgroup>,
    limits: Limits,
}

impl Shell {
    pub fn new(child: Child, job: &Job, mark: Option<Mark>, cgroup: Option<Cgroup>, limits: Limits) -> Self {
        Self {
            child,
            task_id: job.task_id.clone(),
            hostname: job.hostname.clone(),
            started: Instant::now(),
            timeout: job.timeout,
            mark,
            cgroup,
            limits,
        }
    }

    pub fn mark(&self) -> Option<&Mark> {
        self.mark.as_ref()
    }

    pub async fn finish(mut self, cancel: impl Future<Output = ()>) -> Outcome {
        let limits = self.limits;
        let (out_pipe, err_pipe) = (self.child.stdout.take(), self.child.stderr.take());
        let mut stdout = Capture::new(limits.head, limits.tail);
        let mut stderr = Capture::new(limits.head, limits.tail);
        let (end, leaked) = {
            let mut reading = pin!(async { tokio::join!(stdout.fill(out_pipe), stderr.fill(err_pipe)) });
            let mut ending = pin!(self.end(cancel));
            tokio::select! {
                _ = &mut reading => ending.await,
                ended = &mut ending => {
                    // A process in the background may hold the pipes open for ever.
                    let _ = timeout(limits.drain, reading).await;
                    ended
                }
            }
        };
        Outcome { end, stdout: stdout.into_text(), stderr: stderr.into_text(), leaked }
    }

    /// Why the job is over, and whether something of it survived being killed.
    async fn end(&mut self, cancel: impl Future<Output = ()>) -> (End, bool) {
        let left = self.timeout.saturating_sub(self.started.elapsed());
        let end = tokio::select! {
            biased;
            status = self.child.wait() => return (status.map_or(End::Unknown, End::from), false),
            () = cancel => End::Cancelled,
            () = sleep(left) => End::TimedOut,
        };
        (end, !self.stop().await)
    }

    /// Ends all of the job, first politely. True when nothing of it is left.
    async fn stop(&mut self) -> bool {
        let cgroup = self.cgroup.as_ref().map(|cgroup| cgroup.path.clone());
        let mut family = Family::new(&self.task_id, &self.hostname, self.mark.as_ref(), cgroup);
        family.terminate(self.limits.grace).await;
        let gone = family.kill(self.limits.kill).await;
        let reaped = timeout(self.limits.kill, self.child.wait()).await.is_ok();
        gone && reaped
    }
}

impl Drop for Shell {
    /// Kills a job that nobody follows any more. Its shell is waited for in the background.
    fn drop(&mut self) {
        // None once the shell was waited for: its number may be another's by now.
        let Some(pid) = self.child.id() else { return };
        let _ = killpg(pid, Signal::SIGKILL);
        if let Some(cgroup) = &self.cgroup {
            cgroup::kill(&cgroup.path);
        }
    }
}

impl From<WaitStatus> for End {
    fn from(status: WaitStatus) -> Self {
        match status {
            WaitStatus::Exited(_, code) => End::Exited(code),
            WaitStatus::Signaled(_, signal, _) => End::Signalled(signal as i32),
            _ => End::Unknown,
        }
    }
}
