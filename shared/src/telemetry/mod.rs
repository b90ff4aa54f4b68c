//! What a running process tells about itself: logs, and spans of a trace.
//!
//! Two things are kept apart. A [`TraceContext`] is a position in a trace; it is three numbers, it
//! crosses every wall as a `traceparent`, and it flows whether or not anybody collects spans. A
//! [`Span`] is a piece of work in a trace; it is recorded only where an OTLP endpoint is configured
//! and the trace is sampled. Otherwise a span *is* its parent: it costs nothing, and no id is passed
//! on that nobody could look up.
//!
//! Spans are made here, of the SDK and by hand, and not out of the log's spans: so no log filter can
//! lose one, their parents may come from a row or a message, and they work without any subscriber.

mod context;
mod export;
mod log;
mod span;

use std::io::IsTerminal as _;
use std::time::Duration;

use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

pub use context::TraceContext;
pub use span::{Kind, Span};

/// How long handing in the last spans may take; the collector's trouble is not the process's.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(3);

/// What has to be done before the process ends or, on Lambda, is frozen.
#[derive(Debug)]
#[must_use = "spans that are not flushed at the end are lost"]
pub struct Telemetry(Option<SdkTracerProvider>);

/// Starts logging to standard error (readable on a terminal, JSON elsewhere) and, where the
/// environment names a collector, exporting spans as `service`. `RUST_LOG` chooses what is logged,
/// `default` when it is absent. A second call changes nothing.
pub fn init(service: &'static str, default: &str) -> Telemetry {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    // What matters of the broker is logged by `bus`; its client would log whole messages.
    let filter = "lapin=off".parse().into_iter().fold(filter, EnvFilter::add_directive);
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let layer = if std::io::stderr().is_terminal() {
        layer.map_event_format(|format| log::Traced::text(format.with_ansi(true))).with_filter(filter).boxed()
    } else {
        layer.json().map_event_format(log::Traced::json).with_filter(filter).boxed()
    };
    drop(tracing_subscriber::registry().with(layer).try_init()); // already started: the first one stays
    Telemetry(export::start(service))
}

impl Telemetry {
    /// Hands in the spans that are over, for a limited time. Spans may go on afterwards.
    pub async fn flush(&self) {
        let Some(provider) = self.0.clone() else { return };
        let flushing = tokio::task::spawn_blocking(move || provider.force_flush());
        if !matches!(tokio::time::timeout(FLUSH_TIMEOUT, flushing).await, Ok(Ok(Ok(())))) {
            tracing::warn!("the last spans of this process could not be handed to the collector");
        }
    }
}
