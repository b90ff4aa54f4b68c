//! Starting the child, and what it does until exec. All `unsafe` of the agent is here and in `clone`.
//!
//! The child of a threaded program is one thread among locks that others may hold. Until exec it may
//! only make async-signal-safe calls: plain system calls, without a look at memory management, locale
//! or name service. All that it needs is therefore made ready before, in [`Setup`] and [`Program`].
//!
//! Like `posix_spawn`, and unlike the standard library where it runs code of ours in the child, it
//! does not copy the agent's memory: the child borrows it, on a stack of its own, while the thread
//! that started it stands still. Copying, and the faults that follow in every thread of the agent,
//! took longer than a short command runs. Only a child that changes its user gets a copy after all:
//! nobody but the agent's own account may ever look into the agent's memory.

#![expect(unsafe_code, reason = "what runs between fork and exec has no safe form")]

mod clone;

use std::convert::Infallible;
use std::ffi::{CStr, CString, c_char, c_int};
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::ptr;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::libc;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SigHandler, SigSet, Signal, kill, signal};
use nix::sys::stat::{Mode, umask};
use nix::sys::wait::WaitPidFlag;
use nix::unistd::{Gid, Uid};
use nix::unistd::{Pid, chdir, getegid, geteuid, getgroups, getresgid, getresuid, pipe2};
use nix::unistd::{read, setsid, write};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::Account;
use super::cgroup::Door;

/// The mask that ssh, cron and a login shell give. An inherited one would make the files that a
/// command writes depend on how the agent was started; 027 would make a new file in `/etc` unreadable
/// for the services that it is meant for.
const UMASK: Mode = Mode::from_bits_truncate(0o022);

/// The first file descriptor that is not stdin, stdout or stderr.
const FIRST_OWN_FD: libc::c_uint = 3;

/// What the child needs, made ready before the fork.
pub(super) struct Setup {
    door: Option<Door>,
    uid: Uid,
    gid: Gid,
    groups: Vec<Gid>,
    /// False if the agent already is the wanted user: only root may switch.
    switch: bool,
    home: CString,
}

impl Setup {
    /// `door` leads into the job's cgroup.
    ///
    /// # Errors
    /// When the agent's own groups cannot be read, or the home directory holds a NUL.
    pub fn new(account: &Account, door: Option<Door>) -> io::Result<Self> {
        let uid = Uid::from_raw(account.uid);
        let gid = Gid::from_raw(account.gid);
        let groups: Vec<Gid> = account.groups.iter().copied().map(Gid::from_raw).collect();
        let switch = uid != geteuid() || gid != getegid() || groups != getgroups()?;
        Ok(Self { door, uid, gid, groups, switch, home: CString::new(account.home.as_os_str().as_bytes())? })
    }

    /// Joins the job's cgroup. Best effort, as is the cgroup itself: a kill does not rely on it.
    fn join(&self) {
        let _ = self.door.as_ref().map(|door| write(&door.procs, b"0"));
    }

    fn run(&self) -> io::Result<()> {
        setsid()?;
        reset_signals();
        setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
        unshield();
        umask(UMASK);
        if self.switch {
            self.become_user()?;
        }
        self.check()?;
        // As the user, since root may enter homes that the user may not, and on NFS the reverse.
        chdir(self.home.as_c_str()).or_else(|_| chdir(c"/"))?;
        close_inherited();
        Ok(())
    }

    /// By the bare system calls. The C library's functions of these names have every thread of the
    /// process follow, and wait for threads that were starting or ending when the agent was copied:
    /// in the child, which has one thread, for ever.
    fn become_user(&self) -> io::Result<()> {
        let (uid, gid) = (self.uid.as_raw(), self.gid.as_raw());
        // SAFETY: plain system calls; `groups` is a list of as many ids as is said, and is only read.
        unsafe {
            Errno::result(libc::syscall(libc::SYS_setgroups, self.groups.len(), self.groups.as_ptr()))?;
            Errno::result(libc::syscall(libc::SYS_setresgid, gid, gid, gid))?;
            Errno::result(libc::syscall(libc::SYS_setresuid, uid, uid, uid))?;
        }
        Ok(())
    }

    /// The switch did what it said. Id -1, for one, means "leave as it is" and is no error.
    fn check(&self) -> io::Result<()> {
        let uids = getresuid()?;
        let gids = getresgid()?;
        // SAFETY: with a size of 0 the call only counts, and writes nothing through the null pointer.
        let groups = unsafe { libc::getgroups(0, ptr::null_mut()) };
        let right = [uids.real, uids.effective, uids.saved] == [self.uid; 3]
            && [gids.real, gids.effective, gids.saved] == [self.gid; 3]
            && usize::try_from(groups) == Ok(self.groups.len());
        if right { Ok(()) } else { Err(Errno::EPERM.into()) }
    }
}

/// What the child becomes: a program with its arguments, environment and standard streams.
pub(super) struct Program {
    argv: Vec<CString>,
    envp: Vec<CString>,
    stdio: [OwnedFd; 3],
}

impl Program {
    /// The first of `argv` is the program's path.
    pub fn new(argv: Vec<CString>, envp: Vec<CString>, stdio: [OwnedFd; 3]) -> Self {
        Self { argv, envp, stdio }
    }
}

/// A process that was started: its id, and a descriptor for it where the kernel (Linux 5.2) gives one.
pub(super) type Started = (Pid, Option<OwnedFd>);

/// Starts `program` in a child that has set itself up. Returns once the program runs.
///
/// # Errors
/// What went wrong in the child, or that there was none. Nothing is left of it then. `TimedOut` when
/// a child that changes its user did not get there within `patience`: its home may be on a file
/// server that is away.
pub(super) fn start(setup: &Setup, program: &Program, patience: Duration) -> io::Result<Started> {
    let (told, tell) = pipe2(OFlag::O_CLOEXEC)?;
    let (argv, envp) = (pointers(&program.argv), pointers(&program.envp));
    let plan = Plan { setup, program, argv: &argv, envp: &envp, tell: tell.as_raw_fd(), joins: false };
    let started = clone::clone(&plan)?;
    drop(tell);
    // The others have become the program, or failed, by now: this thread stood still for so long.
    if setup.switch && !says_something(&told, patience)? {
        abandon(started.0);
        return Err(io::ErrorKind::TimedOut.into());
    }
    let mut code = [0; size_of::<c_int>()];
    if File::from(told).read_exact(&mut code).is_err() {
        return Ok(started); // it became the program, which closed the pipe
    }
    let _ = super::reaper::reap(started.0, WaitPidFlag::empty());
    Err(io::Error::from_raw_os_error(c_int::from_ne_bytes(code)))
}

/// Whether the child writes or closes its end of the pipe within `patience`.
fn says_something(told: &OwnedFd, patience: Duration) -> io::Result<bool> {
    let until = Instant::now() + patience;
    loop {
        let left = until.saturating_duration_since(Instant::now()).as_millis();
        let mut watched = libc::pollfd { fd: told.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: `watched` is one entry, and lives as long as the call.
        let ready = unsafe { libc::poll(&raw mut watched, 1, c_int::try_from(left).unwrap_or(c_int::MAX)) };
        match Errno::result(ready) {
            Err(Errno::EINTR) => (),
            outcome => return Ok(outcome? > 0),
        }
    }
}

/// Kills a child that hangs. Even that may take until its file server is back, so nobody waits.
fn abandon(pid: Pid) {
    let _ = kill(pid, Signal::SIGKILL);
    std::thread::spawn(move || super::reaper::reap(pid, WaitPidFlag::empty()));
}

fn pointers(texts: &[CString]) -> Vec<*const c_char> {
    texts.iter().map(|text| text.as_ptr()).chain([ptr::null()]).collect()
}

/// All that the child reads. Only the starting thread and the child, which borrows its memory while
/// it stands still, ever have it.
#[derive(Clone, Copy)]
struct Plan<'a> {
    setup: &'a Setup,
    program: &'a Program,
    argv: &'a [*const c_char],
    envp: &'a [*const c_char],
    /// Where the child writes why it failed.
    tell: RawFd,
    /// Whether the child has to join its cgroup itself.
    joins: bool,
}

/// Becomes readable when the process ends that the descriptor is for.
pub(super) fn end_of(process: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an owned descriptor is open, and the same, for as long as it is owned.
    Ok(unsafe { AsyncFd::register_with_interest(process, Interest::READABLE) }?)
}

impl Plan<'_> {
    fn run(&self) -> io::Result<Infallible> {
        for (place, stream) in (0..).zip(&self.program.stdio) {
            // SAFETY: changes only the child's own descriptors.
            Errno::result(unsafe { libc::dup2(stream.as_raw_fd(), place) })?;
        }
        if self.joins {
            self.setup.join();
        }
        self.setup.run()?;
        SigSet::empty().thread_set_mask()?;
        // SAFETY: both lists end with a null pointer, and their texts live as long as the plan.
        unsafe { libc::execve(self.argv[0], self.argv.as_ptr(), self.envp.as_ptr()) };
        Err(Errno::last().into())
    }
}

/// Handlers end at exec by themselves, but an ignored signal stays ignored: an agent started with
/// `nohup` would run commands that no SIGHUP can reach.
fn reset_signals() {
    for each in Signal::iterator() {
        // SAFETY: the default action runs no code of ours. SIGKILL and SIGSTOP refuse, harmlessly.
        let _ = unsafe { signal(each, SigHandler::SigDfl) };
    }
}

/// An agent shielded from the out-of-memory killer must not shield its commands.
fn unshield() {
    const SCORE: &CStr = c"/proc/self/oom_score_adj";
    let Ok(score) = open(SCORE, OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty()) else {
        return;
    };
    let mut sign = [0];
    if read(&score, &mut sign) == Ok(1) && sign == *b"-" {
        let _ = write(&score, b"0");
    }
}

/// Marks every inherited descriptor to be closed at exec. Rust opens all of its own so; this is for
/// what a C library or the agent's parent left open. Closing at once would close the pipe on which
/// the standard library reports a failed exec. Does nothing before Linux 5.11.
fn close_inherited() {
    // SAFETY: takes three integers and changes only flags of this process's own descriptors. Called
    // by number, because glibc before 2.34 has no function for it.
    unsafe { libc::syscall(libc::SYS_close_range, FIRST_OWN_FD, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_that_hangs_on_its_way_to_another_user_is_given_up() {
        let account = Account::current().unwrap();
        let (_reader, full) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).unwrap();
        while write(&full, &[0; 4096]).is_ok() {}
        nix::fcntl::fcntl(&full, nix::fcntl::FcntlArg::F_SETFL(OFlag::empty())).unwrap();
        // It is not born in a cgroup that is none, and joining it is a write that never ends.
        let nothing = || File::options().read(true).write(true).open("/dev/null").unwrap();
        let door = Door { folder: nothing(), procs: full.into() };
        let setup = Setup { switch: true, ..Setup::new(&account, Some(door)).unwrap() };
        let program = Program::new(vec![c"/bin/true".to_owned()], vec![], [(); 3].map(|()| nothing().into()));
        let error = start(&setup, &program, Duration::from_millis(100)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
