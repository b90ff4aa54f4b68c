//! Starting real processes.
//!
//! Everything of the agent's own that a command could see or change is left behind: environment,
//! session, terminal, descriptors, umask. What it gets instead is the same on every server.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::libc;
use nix::unistd::pipe2;

use super::cgroup::Cgroups;
use super::child::{self, Program, Setup};
use super::reaper::Child;
use super::shell::Shell;
use super::{Job, Mark, proc};

const SHELL: &str = "/bin/sh";
const SHELL_PATH: &CStr = c"/bin/sh";
/// The same for every user, because administration needs the `sbin`s whoever does it.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How long becoming another user may take, its home included.
const START: Duration = Duration::from_secs(10);
/// Bytes kept from the start of a stream.
const HEAD: usize = 64 * 1024;
/// Bytes kept from the end of a stream.
const TAIL: usize = 192 * 1024;
/// From SIGTERM to SIGKILL.
const GRACE: Duration = Duration::from_secs(5);
/// How long killing is repeated before a process counts as not to be killed.
pub(super) const KILL: Duration = Duration::from_secs(2);
/// How long output is awaited that a process left in the background may still write.
const DRAIN: Duration = Duration::from_secs(2);

/// The bounds of a job, besides its own timeout.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// What a job that runs as another user is given to become it. Default 10 s.
    pub start: Duration,
    /// Bytes kept from the start of each stream. Default 64 KiB.
    pub head: usize,
    /// Bytes kept from the end of each stream. Default 192 KiB.
    pub tail: usize,
    /// What a job is given to end by itself after SIGTERM. Default 5 s.
    pub grace: Duration,
    /// How long killing is repeated. Default 2 s.
    pub kill: Duration,
    /// How long output is awaited after the job has ended. Default 2 s.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { start: START, head: HEAD, tail: TAIL, grace: GRACE, kill: KILL, drain: DRAIN }
    }
}

/// Why no process came into being.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("this server has no {SHELL}")]
    NoShell,
    #[error("the command holds a NUL byte")]
    Nul,
    #[error("the command is longer than the 128 KiB that Linux takes as one argument")]
    TooLong,
    #[error("the agent could not become `{0}`")]
    Account(String),
    #[error("becoming `{0}` took too long, so it was given up; check the file server of its home")]
    Slow(String),
    #[error("the process could not be started: {0}")]
    Spawn(io::Error),
}

impl StartError {
    /// The shell's own convention: 127 for what is not there, 126 for what cannot be run.
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::NoShell => 127,
            _ => 126,
        }
    }

    fn new(error: io::Error, job: &Job) -> Self {
        match error.raw_os_error() {
            Some(libc::ENOENT) => Self::NoShell,
            Some(libc::E2BIG) => Self::TooLong,
            Some(libc::EPERM | libc::EINVAL) => Self::Account(job.account.name.clone()),
            _ if error.kind() == io::ErrorKind::InvalidInput => Self::Nul,
            _ if error.kind() == io::ErrorKind::TimedOut => Self::Slow(job.account.name.clone()),
            _ => Self::Spawn(error),
        }
    }
}

/// Runs jobs as processes of this server.
pub struct Process {
    limits: Limits,
    cgroups: Option<Arc<Cgroups>>,
}

impl Process {
    /// With a cgroup for each job, where that is possible.
    pub fn new(limits: Limits) -> Self {
        Self { limits, cgroups: Cgroups::find() }
    }

    /// Without cgroups, for hosts where something else manages them.
    pub fn without_cgroups(limits: Limits) -> Self {
        Self { limits, cgroups: None }
    }

    pub(super) fn start(&self, job: &Job) -> Result<Shell, StartError> {
        let cgroups = self.cgroups.as_ref();
        let (cgroup, door) = cgroups.and_then(|cgroups| cgroups.make(&job.task_id, &job.hostname)).unzip();
        let setup = Setup::new(&job.account, door).map_err(StartError::Spawn)?;
        let child = spawn(&setup, job, self.limits.start).map_err(|error| StartError::new(error, job))?;
        // Not yet waited for, the shell has its entry in /proc even if it ended at once.
        let shell = child.id().and_then(|pid| proc::entry(pid.as_raw()));
        let mark = shell.map(|shell| Mark {
            pid: shell.pid,
            start_ticks: shell.start_ticks,
            boot_id: proc::boot_id().to_owned(),
            cgroup: cgroup.as_ref().map(|cgroup| cgroup.path.clone()),
        });
        Ok(Shell::new(child, job, mark, cgroup, self.limits))
    }
}

fn spawn(setup: &Setup, job: &Job, patience: Duration) -> io::Result<Child> {
    let nothing = OwnedFd::from(File::open("/dev/null")?);
    let (stdout, out) = pipe2(OFlag::O_CLOEXEC)?;
    let (stderr, err) = pipe2(OFlag::O_CLOEXEC)?;
    let argv = vec![SHELL_PATH.to_owned(), c"-c".to_owned(), CString::new(job.command.as_str())?];
    let program = Program::new(argv, environment(job)?, [nothing, out, err]);
    let started = child::start(setup, &program, patience)?;
    drop(program); // and with it the ends of the pipes that are the child's
    Child::new(started, stdout, stderr)
}

fn environment(job: &Job) -> io::Result<Vec<CString>> {
    let account = &job.account;
    let variables: [(&str, &[u8]); 8] = [
        ("PATH", PATH.as_bytes()),
        ("HOME", account.home.as_os_str().as_bytes()),
        ("USER", account.name.as_bytes()),
        ("LOGNAME", account.name.as_bytes()),
        ("SHELL", account.shell.as_os_str().as_bytes()),
        ("LANG", b"C.UTF-8"),
        (proc::TASK_ID, job.task_id.as_bytes()),
        (proc::HOSTNAME, job.hostname.as_bytes()),
    ];
    let trace = job.traceparent.iter().map(|value| ("TRACEPARENT", value.as_bytes()));
    let variable = |(name, value): (&str, &[u8])| Ok(CString::new([name.as_bytes(), b"=", value].concat())?);
    variables.into_iter().chain(trace).map(variable).collect()
}
