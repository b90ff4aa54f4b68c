//! How busy the server is, from `/proc` (see `proc_stat(5)` and `proc_meminfo(5)`).

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use shared::clock::Clock;

/// How long the first sample looks, since it has none before to compare with.
const FIRST_LOOK: Duration = Duration::from_millis(100);

/// Use of processor and memory.
#[derive(Clone, Copy, Debug, Default)]
pub struct Load {
    /// In percent of all cores, since the sample before.
    pub cpu_percent: f64,
    /// In percent of the memory that there is.
    pub memory_percent: f64,
}

/// Ticks since the start of the machine.
#[derive(Clone, Copy, Debug, Default)]
struct Ticks {
    busy: u64,
    all: u64,
}

/// Takes samples, each compared with the one before.
#[derive(Debug, Default)]
pub struct Sampler(Mutex<Option<Ticks>>);

impl Sampler {
    /// The load now. What cannot be read counts as 0.
    pub async fn sample(&self, clock: &Clock) -> Load {
        let mut before = *self.last();
        if before.is_none() {
            before = Some(ticks());
            clock.sleep(FIRST_LOOK).await;
        }
        let now = ticks();
        *self.last() = Some(now);
        Load { cpu_percent: percent(before.unwrap_or_default(), now), memory_percent: memory() }
    }

    fn last(&self) -> std::sync::MutexGuard<'_, Option<Ticks>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn percent(before: Ticks, now: Ticks) -> f64 {
    let all = now.all.saturating_sub(before.all);
    if all == 0 {
        return 0.0;
    }
    rounded(now.busy.saturating_sub(before.busy) as f64 / all as f64)
}

fn ticks() -> Ticks {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    parse_ticks(text.lines().next().unwrap_or_default())
}

/// `cpu user nice system idle iowait irq softirq steal …`: waiting for a disk is not being busy, and
/// the later fields are counted in the earlier ones.
fn parse_ticks(line: &str) -> Ticks {
    let fields: Vec<u64> = line.split_whitespace().skip(1).take(8).filter_map(|field| field.parse().ok()).collect();
    let all = fields.iter().sum();
    let idle: u64 = fields.iter().skip(3).take(2).sum();
    Ticks { busy: all - idle, all }
}

fn memory() -> f64 {
    parse_memory(&std::fs::read_to_string("/proc/meminfo").unwrap_or_default())
}

fn parse_memory(text: &str) -> f64 {
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<f64>().ok()
    };
    match (field("MemTotal:"), field("MemAvailable:")) {
        (Some(total), Some(available)) if total > 0.0 => rounded((total - available) / total),
        _ => 0.0,
    }
}

/// A share as a percentage with one decimal.
fn rounded(share: f64) -> f64 {
    (share.clamp(0.0, 1.0) * 1_000.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_is_what_is_not_idle() {
        let before = parse_ticks("cpu  100 0 100 800 0 0 0 0 0 0");
        let now = parse_ticks("cpu  150 0 125 900 25 0 0 0 0 0");
        assert!((percent(before, now) - 37.5).abs() < f64::EPSILON);
        assert!(percent(now, now).abs() < f64::EPSILON);
        assert!((parse_memory("MemTotal: 1000 kB\nMemAvailable: 250 kB\n") - 75.0).abs() < f64::EPSILON);
        assert!(parse_memory("").abs() < f64::EPSILON);
    }

    #[tokio::test]
    async fn a_machine_has_a_load() {
        let sampler = Sampler::default();
        let load = sampler.sample(&Clock::System).await;
        assert!((0.0..=100.0).contains(&load.cpu_percent));
        assert!(load.memory_percent > 0.0 && load.memory_percent < 100.0);
    }
}
