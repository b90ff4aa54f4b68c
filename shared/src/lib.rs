//! The common crate: what every Muster program shares. One line per room.
//!
//! Dependencies point downwards only: `run` and `http` know the rooms below them, `contract` and
//! `rules` know nobody. A service crate composes these rooms; no room here knows a service.

pub mod audit; // the checker: whether what was promised of a task was kept
pub mod bus; // the transport seam: who carries a message, and what a queue promises
pub mod clock; // the time seam: the only place that reads the system clock
pub mod config; // settings, read once at the start
pub mod contract; // words that cross a wall: HTTP bodies, signed payloads
pub mod crash; // moments at which the fault suite kills a program; none in a release build
pub mod db; // the SQL seam: which database, transactions, migrations
pub mod error; // one error type, which knows nothing of HTTP
pub mod http; // HTTP: layers, extractors, lists, error → status, a client
pub mod id; // identifiers that sort by time
pub mod lock; // one process a folder
pub mod metrics; // what is counted, for Prometheus
pub mod name; // names that people choose, parsed at the door
pub mod rules; // thought without I/O: state machines, targets, limits
pub mod run; // the run-mode seam: a service as a value, and who runs it
pub mod sign; // DSSE, keys, Merkle inclusion, the verifier
pub mod store; // tables that two programs touch: one file per table
pub mod telemetry; // logs, spans, and the W3C trace context
