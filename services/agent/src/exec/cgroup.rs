//! A cgroup of its own for each job, where the kernel and the host allow it.
//!
//! A cgroup is the one container no process leaves by forking, by starting a session or by clearing
//! its environment, and `cgroup.kill` (Linux 5.14) ends all of it at once. It is best effort: without
//! a cgroup2 mount, or without the right to make a directory below the agent's own cgroup (systemd
//! grants it with `Delegate=yes`), jobs run without one and `family.rs` alone finds their processes.
//! No controller is switched on, so that the agent may stay in the parent cgroup.

use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The agent's own cgroup, below which the jobs' are made.
pub(super) struct Cgroups {
    own: PathBuf,
    /// Cgroups that still held processes when their job was over: daemons that it started.
    left: Mutex<Vec<PathBuf>>,
}

impl Cgroups {
    /// The agent's cgroup, or `None` where cgroup v2 is not mounted.
    pub fn find() -> Option<Arc<Self>> {
        let own = own()?;
        Some(Arc::new(Self { own, left: Mutex::default() }))
    }

    /// Makes the job's cgroup and opens the ways into it. A name that is too long or already taken
    /// means a job without a cgroup.
    pub fn make(self: &Arc<Self>, task_id: &str, hostname: &str) -> Option<(Cgroup, Door)> {
        self.left().retain(|path| !remove(path));
        let path = path(&self.own, task_id, hostname)?;
        fs::create_dir(&path).ok()?;
        let cgroup = Cgroup { path, all: Arc::clone(self) };
        let folder = File::open(&cgroup.path).ok()?;
        let procs = OpenOptions::new().write(true).open(cgroup.path.join("cgroup.procs")).ok()?;
        Some((cgroup, Door { folder, procs }))
    }

    fn left(&self) -> MutexGuard<'_, Vec<PathBuf>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The ways into a cgroup: to be started in its folder, or to join it through its `cgroup.procs`.
pub(super) struct Door {
    pub folder: File,
    pub procs: File,
}

/// A job's cgroup. Removed when dropped, or at a later job's start once its last process has ended.
pub(super) struct Cgroup {
    pub path: PathBuf,
    all: Arc<Cgroups>,
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if !remove(&self.path) {
            self.all.left().push(self.path.clone());
        }
    }
}

/// Removes the cgroup; false while there are processes in it. A process may count for a moment after
/// it was reaped.
pub(super) fn remove(path: &Path) -> bool {
    match fs::remove_dir(path) {
        Ok(()) => true,
        Err(error) => error.kind() == ErrorKind::NotFound,
    }
}

/// Sends SIGKILL to everything in the cgroup and below it. Does nothing before Linux 5.14.
pub(super) fn kill(path: &Path) {
    // Opened, never created: a path that is no cgroup must stay as it is.
    if let Ok(mut file) = OpenOptions::new().write(true).open(path.join("cgroup.kill")) {
        let _ = std::io::Write::write_all(&mut file, b"1");
    }
}

/// The processes in the cgroup.
pub(super) fn members(path: &Path) -> Vec<i32> {
    let listing = fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
    listing.lines().filter_map(|line| line.parse().ok()).collect()
}

/// Where the job's cgroup is made, given the agent's own.
pub(super) fn path(own: &Path, task_id: &str, hostname: &str) -> Option<PathBuf> {
    let name = format!("muster-{task_id}-{hostname}");
    (!name.contains('/')).then(|| own.join(name))
}

/// The directory of the cgroup that this process is in.
pub(super) fn own() -> Option<PathBuf> {
    of("self")
}

/// The directory of the cgroup that the process `pid` is in, where cgroup v2 is mounted.
pub fn of(pid: &str) -> Option<PathBuf> {
    let cgroups = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let own = cgroups.lines().find_map(|line| line.strip_prefix("0::"))?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    mounts.lines().find_map(|mount| below(mount, Path::new(own)))
}

/// Where `own` is found below this line of mountinfo, if it is a cgroup2 mount that shows it:
/// `id parent dev root point options [tags] - type source options`.
fn below(mount: &str, own: &Path) -> Option<PathBuf> {
    let (place, kind) = mount.split_once(" - ")?;
    if kind.split(' ').next() != Some("cgroup2") {
        return None;
    }
    let mut fields = place.split(' ').skip(3);
    let (root, point) = (fields.next()?, fields.next()?);
    Some(Path::new(point).join(own.strip_prefix(root).ok()?))
}
