//! Reading `/proc`: which processes there are, and whose they are.
//!
//! A pid alone names nothing for long, because pids are used again. A pid with its start time does:
//! pids are handed out in a circle, which takes far longer than the clock tick that the start time is
//! counted in.

use std::fs;
use std::sync::OnceLock;

/// One process, as `/proc/<pid>/stat` has it.
pub(super) struct Entry {
    pub pid: i32,
    pub parent: i32,
    pub group: i32,
    pub session: i32,
    /// Clock ticks from boot to its start.
    pub start_ticks: u64,
    pub alive: bool,
    /// Its environment names the job that was asked for.
    pub named: bool,
}

/// The variables by which a job's processes are known.
pub(super) const TASK_ID: &str = "MUSTER_TASK_ID";
pub(super) const HOSTNAME: &str = "MUSTER_HOSTNAME";

/// What the environment of the job's processes holds.
pub(super) fn names(task_id: &str, hostname: &str) -> [String; 2] {
    [format!("{TASK_ID}={task_id}"), format!("{HOSTNAME}={hostname}")]
}

/// Every process started at `since` ticks or later, and whether its environment holds `names`.
/// About 20 µs a process, and as much again for its environment.
pub(super) fn scan(since: u64, names: &[String; 2]) -> Vec<Entry> {
    let Ok(listing) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    listing
        .filter_map(|item| item.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(entry)
        .filter(|entry| entry.start_ticks >= since)
        .map(|entry| Entry { named: entry.alive && environment_holds(entry.pid, names), ..entry })
        .collect()
}

/// The process with this pid, if there is one.
pub(super) fn entry(pid: i32) -> Option<Entry> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The name in brackets is the process's own choice and may hold brackets, spaces and newlines.
    let after_name = stat.iter().rposition(|&byte| byte == b')')? + 1;
    let fields: Vec<&str> = std::str::from_utf8(&stat[after_name..]).ok()?.split_whitespace().collect();
    // Field n of proc(5) is at n - 3 here. A zombie whose other threads go on is still alive.
    let threads: u32 = fields.get(17)?.parse().ok()?;
    Some(Entry {
        pid,
        parent: fields.get(1)?.parse().ok()?,
        group: fields.get(2)?.parse().ok()?,
        session: fields.get(3)?.parse().ok()?,
        start_ticks: fields.get(19)?.parse().ok()?,
        alive: !matches!(*fields.first()?, "Z" | "X") || threads > 1,
        named: false,
    })
}

fn environment_holds(pid: i32, names: &[String; 2]) -> bool {
    let Ok(environment) = fs::read(format!("/proc/{pid}/environ")) else {
        return false;
    };
    let holds = |name: &String| environment.split(|&byte| byte == 0).any(|variable| variable == name.as_bytes());
    names.iter().all(holds)
}

/// The kernel's id of this boot; empty where it cannot be read.
pub(super) fn boot_id() -> &'static str {
    static BOOT_ID: OnceLock<String> = OnceLock::new();
    BOOT_ID.get_or_init(|| {
        fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned()).unwrap_or_default()
    })
}
