//! Every process of a job, found again and again until none is left.
//!
//! A process group is no container: `setsid` leaves it, and a daemon's parent is init. So a process
//! counts as the job's by any of these:
//! - it was counted before (the same pid *and* start time);
//! - it is in the shell's group or session, while the shell, dead or alive, still holds that number;
//! - it is in the job's cgroup;
//! - its environment names the task and the host;
//! - its parent counts.
//!
//! None of them started before the shell, which spares most processes of a host a closer look, and
//! the agent itself never counts, whoever started it. Without a cgroup, what cleared its
//! environment, left the session and lost its parent before the first look escapes.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use tokio::time::{Instant, sleep};

use super::proc::{self, Entry};
use super::{Mark, cgroup};

/// How long to wait between the first two looks; each further pause is twice the one before.
pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(2);
/// The longest pause between two looks.
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

pub(super) struct Family {
    names: Arc<[String; 2]>,
    /// The shell's pid and start time.
    leader: Option<(i32, u64)>,
    cgroup: Option<PathBuf>,
    /// Pid and start time of each process found so far and still there.
    known: HashMap<i32, u64>,
}

impl Family {
    pub fn new(task_id: &str, hostname: &str, mark: Option<&Mark>, cgroup: Option<PathBuf>) -> Self {
        Self {
            names: Arc::new(proc::names(task_id, hostname)),
            leader: mark.map(|mark| (mark.pid, mark.start_ticks)),
            cgroup,
            known: HashMap::new(),
        }
    }

    /// Asks every process to end, and waits until none is left or `patience` has passed.
    pub async fn terminate(&mut self, patience: Duration) {
        self.pursue(Signal::SIGTERM, patience).await;
    }

    /// Kills until none is left or `patience` has passed. True when none is left.
    pub async fn kill(&mut self, patience: Duration) -> bool {
        self.pursue(Signal::SIGKILL, patience).await
    }

    async fn pursue(&mut self, signal: Signal, patience: Duration) -> bool {
        let started = Instant::now();
        let mut pause = FIRST_PAUSE;
        let mut first = true;
        loop {
            if let (Signal::SIGKILL, Some(cgroup)) = (signal, &self.cgroup) {
                cgroup::kill(cgroup);
            }
            let living = self.look().await;
            if living.is_empty() {
                return true;
            }
            // Asked once only: to many programs a second SIGTERM means "never mind the clean-up".
            if first || signal == Signal::SIGKILL {
                self.strike(signal, &living);
            }
            if started.elapsed() >= patience {
                return false;
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            first = false;
        }
    }

    /// The living processes of the job.
    pub async fn look(&mut self) -> Vec<Entry> {
        let since = self.leader.map_or(0, |(_, ticks)| ticks);
        let names = Arc::clone(&self.names);
        // Not on this thread: reading an environment waits for a lock of the process it belongs to.
        let scan = tokio::task::spawn_blocking(move || proc::scan(since, &names));
        // Fails only when the runtime is going down, and this future with it.
        let entries = scan.await.unwrap_or_default();
        self.pick(entries)
    }

    fn pick(&mut self, mut entries: Vec<Entry>) -> Vec<Entry> {
        let agent = std::process::id().cast_signed();
        entries.retain(|entry| entry.pid != agent);
        let leader = self.leader.filter(|leader| {
            let is_leader = |entry: &Entry| (entry.pid, entry.start_ticks) == *leader;
            entries.iter().any(is_leader)
        });
        let number = leader.map(|(pid, _)| pid);
        let in_cgroup: HashSet<i32> = self.cgroup.iter().flat_map(|path| cgroup::members(path)).collect();
        let counts = |entry: &&Entry| {
            self.known.get(&entry.pid) == Some(&entry.start_ticks)
                || [entry.pid, entry.group, entry.session].iter().any(|id| Some(*id) == number)
                || in_cgroup.contains(&entry.pid)
                || entry.named
        };
        let found = entries.iter().filter(counts);
        let mut known = found.map(|entry| (entry.pid, entry.start_ticks)).collect();
        add_descendants(&mut known, &entries);
        entries.retain(|entry| entry.alive && known.contains_key(&entry.pid));
        self.known = known;
        entries
    }

    /// Signals the group as one, so that no fork slips through, and everyone outside of it.
    fn strike(&self, signal: Signal, living: &[Entry]) {
        // Looked at again, right before: the scan was long enough for a process to end.
        let still = |pid, ticks| proc::entry(pid).is_some_and(|entry| entry.start_ticks == ticks);
        let leader = self.leader.filter(|&(pid, ticks)| still(pid, ticks));
        let group = leader.map(|(pid, _)| pid);
        if let Some(group) = group {
            let _ = killpg(Pid::from_raw(group), signal);
        }
        for entry in living {
            if Some(entry.group) != group && still(entry.pid, entry.start_ticks) {
                let _ = kill(Pid::from_raw(entry.pid), signal);
            }
        }
    }
}

fn add_descendants(known: &mut HashMap<i32, u64>, entries: &[Entry]) {
    loop {
        let before = known.len();
        for entry in entries {
            if known.contains_key(&entry.parent) {
                known.insert(entry.pid, entry.start_ticks);
            }
        }
        if known.len() == before {
            return;
        }
    }
}
