//! The fork: a child with a stack of its own, born in its job's cgroup where the kernel can do that.
//!
//! A process that moves itself into a cgroup has the kernel wait until no thread of the machine is in
//! the middle of a fork, which takes 5 to 15 ms on a machine that has not done so just before: longer
//! than all else that a short command costs. One that is born there (`CLONE_INTO_CGROUP`, Linux 5.7)
//! waits for nobody. The C library has no function for that, so the system call is made by hand, on
//! the machines where this was tried; elsewhere, or when it is refused, the child joins by itself.

use std::ffi::{c_int, c_void};
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::ptr;

use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::{SigSet, SigmaskHow};
use nix::unistd::Pid;

use super::{Plan, Started};

/// What the child does before exec needs a few hundred bytes.
const STACK_BYTES: usize = 64 * 1024;
/// From the kernel's `sched.h`; the crate's own constant is too narrow for it.
#[cfg(target_arch = "x86_64")]
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

type Stack = Vec<u128>; // aligned as a stack must be

/// Starts a child that carries out `plan`.
pub(super) fn clone(plan: &Plan<'_>) -> io::Result<Started> {
    let mut stack: Stack = vec![0; STACK_BYTES / size_of::<u128>()];
    // A handler that ran in the child would write into the agent's memory.
    let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
    let started =
        born_inside(plan, &mut stack).map_or_else(|| born_outside(&Plan { joins: true, ..*plan }, &mut stack), Ok);
    before.thread_set_mask()?;
    let (pid, pidfd) = started?;
    // SAFETY: the kernel has just opened it for us, and nobody else knows of it.
    let pidfd = (pidfd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(pidfd) });
    Ok((Pid::from_raw(pid), pidfd))
}

fn flags(plan: &Plan<'_>) -> c_int {
    let shared = if plan.setup.switch { 0 } else { libc::CLONE_VM | libc::CLONE_VFORK };
    shared | libc::CLONE_PIDFD
}

/// A child in the job's cgroup from its first moment; `None` if there is none, or it cannot be had so.
#[cfg(target_arch = "x86_64")]
fn born_inside(plan: &Plan<'_>, stack: &mut Stack) -> Option<(c_int, c_int)> {
    let cgroup = plan.setup.door.as_ref()?.folder.as_raw_fd();
    let mut pidfd: c_int = -1;
    // SAFETY: all zeros is how the system call wants what is not asked for.
    let mut asked: libc::clone_args = unsafe { std::mem::zeroed() };
    asked.flags = u64::from(flags(plan).unsigned_abs()) | CLONE_INTO_CGROUP;
    asked.pidfd = ptr::from_mut(&mut pidfd) as u64;
    asked.exit_signal = libc::SIGCHLD as u64;
    asked.stack = stack.as_mut_ptr() as u64;
    asked.stack_size = STACK_BYTES as u64;
    asked.cgroup = u64::try_from(cgroup).ok()?;
    let answer: i64;
    // SAFETY: as in `born_outside`. In the child, where the call answers 0 and the stack pointer is at
    // the end of `stack`, `enter` is called and never returns; the parent goes on behind the label.
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, {plan}",
            "call {enter}",
            "ud2",
            "2:",
            plan = in(reg) ptr::from_ref(plan),
            enter = in(reg) enter as extern "C" fn(*mut c_void) -> c_int,
            inout("rax") libc::SYS_clone3 => answer,
            in("rdi") ptr::from_ref(&asked),
            in("rsi") size_of::<libc::clone_args>(),
            out("rcx") _,
            out("r11") _,
        );
    }
    let pid = c_int::try_from(answer).ok()?;
    (pid > 0).then_some((pid, pidfd))
}

#[cfg(not(target_arch = "x86_64"))]
fn born_inside(_: &Plan<'_>, _: &mut Stack) -> Option<(c_int, c_int)> {
    None
}

/// A child in the agent's own cgroup.
fn born_outside(plan: &Plan<'_>, stack: &mut Stack) -> io::Result<(c_int, c_int)> {
    let mut pidfd: c_int = -1;
    // SAFETY: the child runs `enter` on `stack`, which grows downwards from its end and outlives the
    // child's use of it: with CLONE_VFORK this call returns only when the child has left the memory,
    // and without CLONE_VM the child has a copy. `plan` likewise. `enter` never returns and makes
    // only system calls. `pidfd` is where CLONE_PIDFD writes.
    let pid = unsafe {
        libc::clone(
            enter,
            stack.as_mut_ptr_range().end.cast(),
            flags(plan) | libc::SIGCHLD,
            ptr::from_ref(plan).cast_mut().cast(),
            &raw mut pidfd,
        )
    };
    Errno::result(pid).map(|pid| (pid, pidfd)).map_err(Into::into)
}

extern "C" fn enter(plan: *mut c_void) -> c_int {
    // SAFETY: `clone` passes a plan that lives until the child has left its memory.
    let plan = unsafe { &*plan.cast::<Plan<'_>>() };
    let Err(error) = plan.run();
    let code = error.raw_os_error().unwrap_or(libc::EIO).to_ne_bytes();
    // SAFETY: plain system calls; `code` is read only, and `_exit` runs nothing of the agent's.
    unsafe {
        libc::write(plan.tell, code.as_ptr().cast(), code.len());
        libc::_exit(127)
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use std::fs::File;
    use std::time::Duration;

    use nix::sys::wait::WaitPidFlag;

    use crate::exec::Account;
    use crate::exec::cgroup::{Cgroups, Door, members};
    use crate::exec::child::{Program, Setup, start};
    use crate::exec::reaper::reap;

    /// Its door leads nowhere, so a child that is found inside was born there.
    #[test]
    fn a_child_is_born_in_its_cgroup() {
        let Some((cgroup, door)) = Cgroups::find().and_then(|all| all.make("born", &std::process::id().to_string()))
        else {
            eprintln!("NOT CHECKED: no cgroup can be made here");
            return;
        };
        let nothing = || File::options().read(true).write(true).open("/dev/null").unwrap();
        let (waiting, awaited) = std::io::pipe().unwrap();
        let door = Door { folder: door.folder, procs: nothing() };
        let setup = Setup::new(&Account::current().unwrap(), Some(door)).unwrap();
        let program =
            Program::new(vec![c"/bin/cat".to_owned()], vec![], [waiting.into(), nothing().into(), nothing().into()]);
        let (pid, _) = start(&setup, &program, Duration::from_secs(10)).unwrap();
        assert_eq!(members(&cgroup.path), [pid.as_raw()]);
        drop(awaited);
        reap(pid, WaitPidFlag::empty()).unwrap();
    }
}
