//! Processor time of processes, as the kernel counts it.

use std::collections::BTreeMap;

use crate::stack::Stack;

/// What the kernel counts processor time in, in ticks a second: Linux' `USER_HZ`.
const TICKS_PER_SECOND: f64 = 100.0;
/// The programs of database and broker by the names of their processes, and how they are shown.
const SERVERS: [(&str, &str); 3] = [("mariadbd", "database"), ("mysqld", "database"), ("beam.smp", "broker")];

/// Seconds so far, by part of the plane.
pub type Seconds = BTreeMap<String, f64>;

/// The seconds of the stack's services, and of database and broker, whoever else uses those.
pub fn of(stack: &Stack) -> Seconds {
    let services = stack.processes.iter().map(|(name, process)| (name.clone(), process.id()));
    let mut seconds = Seconds::new();
    for (name, id) in services.chain(servers()) {
        *seconds.entry(name).or_default() += used(id);
    }
    seconds
}

fn servers() -> Vec<(String, u32)> {
    let folders = std::fs::read_dir("/proc").unwrap().flatten();
    let ids = folders.filter_map(|folder| folder.file_name().to_str()?.parse::<u32>().ok());
    let server = |id: u32| {
        let name = std::fs::read_to_string(format!("/proc/{id}/comm")).ok()?;
        let (_, shown) = SERVERS.into_iter().find(|(program, _)| *program == name.trim())?;
        Some((shown.to_owned(), id))
    };
    ids.filter_map(server).collect()
}

/// `utime` and `stime`, the 14th and 15th field; the second one, in parentheses, may hold blanks.
fn used(id: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / TICKS_PER_SECOND
}
