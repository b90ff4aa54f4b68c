//! Many takings of one figure, told as median, extremes and a high percentile.

use std::time::{Duration, Instant};

/// Durations of one figure.
#[derive(Default)]
pub struct Sample(Vec<Duration>);

impl Sample {
    /// Takes `count` of them, one after another.
    pub fn of(count: usize, mut work: impl FnMut()) -> Self {
        let mut sample = Self::default();
        for _ in 0..count {
            let start = Instant::now();
            work();
            sample.push(start.elapsed());
        }
        sample
    }

    pub fn push(&mut self, taken: Duration) {
        self.0.push(taken);
        self.0.sort();
    }

    pub fn median(&self) -> Duration {
        self.at(0.5)
    }

    fn at(&self, share: f64) -> Duration {
        let place = (self.0.len() as f64 * share) as usize;
        self.0.get(place.min(self.0.len().saturating_sub(1))).copied().unwrap_or_default()
    }

    pub fn print(&self, what: &str) {
        let ms = |taken: Duration| taken.as_secs_f64() * 1e3;
        println!(
            "  {what:<52} median {:8.3} ms   p95 {:8.3}   min {:8.3}   max {:8.3}   n {}",
            ms(self.median()),
            ms(self.at(0.95)),
            ms(self.at(0.0)),
            ms(self.at(1.0)),
            self.0.len()
        );
    }
}

/// A rate, from a count and the time it took.
pub fn rate(count: usize, taken: Duration) -> f64 {
    count as f64 / taken.as_secs_f64()
}

/// What a process weighs.
pub fn memory(process: u32) -> String {
    let rollup = std::fs::read_to_string(format!("/proc/{process}/smaps_rollup")).unwrap();
    let field = |name: &str| {
        let line = rollup.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().next().unwrap().parse::<f64>().unwrap() / 1024.0
    };
    format!("{:.1} MB resident, {:.1} MB proportional", field("Rss:"), field("Pss:"))
}
