//! What is measured: every metric with its labels and its meaning. `docs/operations.md` has the same
//! table, and a test compares the two.

use metrics::{describe_counter, describe_gauge, describe_histogram};

/// Seconds that a request may take.
const SECONDS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0];
/// Messages that a batch may hold.
const MESSAGES: &[f64] = &[1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0];

/// How a metric behaves.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts samples by size; these are the upper bounds.
    Histogram(&'static [f64]),
}

/// Something that is measured.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name, with its unit last.
    pub name: &'static str,
    /// How it behaves.
    pub kind: Kind,
    /// What distinguishes its series.
    pub labels: &'static [&'static str],
    /// What it says.
    pub help: &'static str,
}

impl Metric {
    pub(super) fn describe(&self) {
        match self.kind {
            Kind::Counter => describe_counter!(self.name, self.help),
            Kind::Gauge => describe_gauge!(self.name, self.help),
            Kind::Histogram(_) => describe_histogram!(self.name, self.help),
        }
    }
}

macro_rules! catalogue {
    ($($id:ident $name:literal $kind:expr, $labels:expr, $help:literal;)+) => {
        $(pub(super) const $id: &str = $name;)+
        /// Every metric.
        pub const ALL: &[Metric] = &[$(Metric { name: $id, kind: $kind, labels: &$labels, help: $help }),+];
    };
}

catalogue! {
    HTTP_REQUESTS "muster_http_requests_total" Kind::Counter, ["service", "method", "route", "status"],
        "Requests answered; `gone` is the status of those whose caller left";
    HTTP_SECONDS "muster_http_request_seconds" Kind::Histogram(SECONDS), ["service", "method", "route"],
        "Time from a request's head to its answer's";
    BUS_PUBLISHED "muster_bus_published_total" Kind::Counter, ["to", "outcome"],
        "Messages given to the broker, by what became of them: confirmed, returned, failed";
    BUS_DELIVERED "muster_bus_delivered_total" Kind::Counter, ["queue"],
        "Messages taken from the broker";
    BUS_VERDICTS "muster_bus_verdicts_total" Kind::Counter, ["queue", "verdict"],
        "Messages settled: done, again, dead";
    OUTBOX_ROWS "muster_outbox_rows" Kind::Gauge, [],
        "Rows that wait for the relay or are under way";
    OUTBOX_OLDEST "muster_outbox_oldest_seconds" Kind::Gauge, [],
        "Age of the oldest row of the outbox";
    INVOCATIONS "muster_invocations_total" Kind::Counter, ["state"],
        "Invocations that came into a state";
    REFUSALS "muster_refusals_total" Kind::Counter, ["by", "reason"],
        "Messages that the verifier refused";
    IDENTITY_SIGNS "muster_identity_signs_total" Kind::Counter, ["sign"],
        "Signs that two agents share an identity or that one was put back: turn, clone, fork";
    DEAD_LETTERS "muster_dead_letters_total" Kind::Counter, ["reason"],
        "Messages that were put with the dead letters";
    DEAD_LETTERS_DROPPED "muster_dead_letters_dropped_total" Kind::Counter, [],
        "Dead letters that had to make room for others";
    INGEST_BATCH "muster_ingest_batch_messages" Kind::Histogram(MESSAGES), ["queue"],
        "Messages that the ingestor handled at a time";
    WATCHDOG_VERDICTS "muster_watchdog_verdicts_total" Kind::Counter, ["state"],
        "Invocations that the watchdog decided";
    RETENTION_REMOVED "muster_retention_removed_total" Kind::Counter, ["what"],
        "What was removed because it was too old or too much: outputs, tasks, results";
    AGENT_RUNNING "muster_agent_running" Kind::Gauge, [],
        "Commands that run";
    AGENT_SPOOLED "muster_agent_spooled" Kind::Gauge, [],
        "Results that the broker does not have yet";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_lists_what_is_measured() {
        let page = include_str!("../../../docs/operations.md");
        for metric in ALL {
            let labels: Vec<_> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
            let row = format!("| `{}` | {} |", metric.name, labels.join(", "));
            assert!(page.contains(&row), "docs/operations.md lacks the row {row}");
        }
        assert_eq!(page.matches("| `muster_").count(), ALL.len(), "a row of docs/operations.md is about nothing");
    }
}
