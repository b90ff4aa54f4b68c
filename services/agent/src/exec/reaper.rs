//! Waiting for a child, without a thread for it where the kernel has descriptors for processes.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use tokio::io::unix::AsyncFd;
use tokio::net::unix::pipe::Receiver;
use tokio::runtime::Handle;
use tokio::time::sleep;

use super::child::{self, Started};

/// How often to look for the end of a process that has no descriptor (before Linux 5.3).
const LOOK: Duration = Duration::from_millis(5);

/// A process of ours that is to be waited for.
pub(super) struct Child {
    pid: Pid,
    /// Readable once it has ended.
    ended: Option<AsyncFd<OwnedFd>>,
    /// How it ended, once it was waited for.
    status: Option<nix::Result<WaitStatus>>,
    pub stdout: Option<Receiver>,
    pub stderr: Option<Receiver>,
}

impl Child {
    pub fn new((pid, pidfd): Started, stdout: OwnedFd, stderr: OwnedFd) -> io::Result<Self> {
        let mut child = Self { pid, ended: None, status: None, stdout: None, stderr: None };
        child.stdout = Some(Receiver::from_owned_fd(stdout)?);
        child.stderr = Some(Receiver::from_owned_fd(stderr)?);
        child.ended = pidfd.map(child::end_of).transpose()?;
        Ok(child)
    }

    /// Its process id, until it was waited for: after that the number may be another's.
    pub fn id(&self) -> Option<Pid> {
        self.status.is_none().then_some(self.pid)
    }

    /// Waits for its end. May be dropped at any await.
    pub async fn wait(&mut self) -> io::Result<WaitStatus> {
        if let Some(status) = self.status {
            return Ok(status?);
        }
        let status = match &self.ended {
            Some(ended) => {
                drop(ended.readable().await?);
                reap(self.pid, WaitPidFlag::empty())
            }
            None => look(self.pid).await,
        };
        self.status = Some(status);
        Ok(status?)
    }
}

impl Drop for Child {
    /// A zombie is nobody's business but ours.
    fn drop(&mut self) {
        let Some(pid) = self.id() else { return };
        if reap(pid, WaitPidFlag::WNOHANG) != Ok(WaitStatus::StillAlive) {
            return;
        }
        let wait = move || {
            let _ = reap(pid, WaitPidFlag::empty());
        };
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(wait)),
            Err(_) => drop(std::thread::spawn(wait)),
        }
    }
}

/// Takes the status of a child that has ended.
pub(super) fn reap(pid: Pid, flags: WaitPidFlag) -> nix::Result<WaitStatus> {
    loop {
        match waitpid(pid, Some(flags)) {
            Err(Errno::EINTR) => (),
            outcome => return outcome,
        }
    }
}

async fn look(pid: Pid) -> nix::Result<WaitStatus> {
    loop {
        match reap(pid, WaitPidFlag::WNOHANG) {
            Ok(WaitStatus::StillAlive) => sleep(LOOK).await,
            outcome => return outcome,
        }
    }
}
