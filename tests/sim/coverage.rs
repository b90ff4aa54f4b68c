//! How often everything happened, over all seeds: a fault that never happens proves nothing.

use std::collections::BTreeMap;
use std::fmt;

/// What must have happened at least once in a full run.
pub const MUST_HAPPEN: &[(&str, &str)] = &[
    ("actions", "post"),
    ("actions", "post again"),
    ("actions", "relay"),
    ("actions", "other relay"),
    ("actions", "take"),
    ("actions", "finish"),
    ("actions", "flush"),
    ("actions", "tidy"),
    ("actions", "heartbeat"),
    ("actions", "ingest"),
    ("actions", "watchdog"),
    ("actions", "roll-out"),
    ("actions", "cancel"),
    ("actions", "advance"),
    ("actions", "delete server"),
    ("actions", "register"),
    ("actions", "late message"),
    ("faults", "message Refused"),
    ("faults", "message ConfirmLost"),
    ("faults", "message Doubled"),
    ("faults", "message Delayed"),
    ("faults", "API ended Before a write"),
    ("faults", "API ended After a write"),
    ("faults", "relay ended Before a write"),
    ("faults", "relay ended After a write"),
    ("faults", "ingestor ended Before a write"),
    ("faults", "ingestor ended After a write"),
    ("faults", "watchdog ended Before a write"),
    ("faults", "watchdog ended After a write"),
    ("faults", "roll-out ended Before a write"),
    ("faults", "roll-out ended After a write"),
    ("faults", "agent ended Before a write"),
    ("faults", "agent ended After a write"),
    ("faults", "starting agent ended Before a write"),
    ("faults", "starting agent ended After a write"),
    ("faults", "agent lost its connection"),
    ("faults", "agent's ack lost"),
    ("faults", "ingestor's ack lost"),
    ("faults", "agent killed"),
    ("faults", "agent's power cut"),
    ("faults", "broker restarted"),
    ("faults", "plane killed"),
    ("faults", "plane's power cut"),
    ("faults", "agent's disk full"),
    ("faults", "plane's disk full"),
    ("faults", "agent's clock set ahead"),
    ("faults", "agent's clock set back"),
    ("faults", "plane's clock set ahead"),
    ("faults", "plane's clock set back"),
    ("ends", "succeeded"),
    ("ends", "failed"),
    ("ends", "timed_out"),
    ("ends", "cancelled"),
    ("ends", "rejected"),
    ("ends", "interrupted"),
    ("ends", "expired"),
    ("ends", "lost"),
    ("ends", "undeliverable"),
    ("ends", "skipped"),
    ("guesses", "expired"),
    ("guesses", "lost"),
    ("guesses", "undeliverable"),
];

/// How often each thing happened.
#[derive(Clone, Debug, Default)]
pub struct Coverage(BTreeMap<&'static str, BTreeMap<String, u64>>);

impl Coverage {
    /// It happened once more.
    pub fn count(&mut self, kind: &'static str, what: &str) {
        *self.0.entry(kind).or_default().entry(what.to_owned()).or_default() += 1;
    }

    /// How often it happened.
    pub fn of(&self, kind: &str, what: &str) -> u64 {
        self.0.get(kind).and_then(|counts| counts.get(what)).copied().unwrap_or(0)
    }

    /// Adds what another seed saw.
    pub fn add(&mut self, other: &Self) {
        for (kind, counts) in &other.0 {
            for (what, count) in counts {
                *self.0.entry(kind).or_default().entry(what.clone()).or_default() += count;
            }
        }
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (kind, counts) in &self.0 {
            let counts: Vec<_> = counts.iter().map(|(what, count)| format!("{what} {count}")).collect();
            writeln!(f, "{kind}: {}", counts.join(", "))?;
        }
        Ok(())
    }
}
