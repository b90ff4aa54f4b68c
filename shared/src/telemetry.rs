//! Logs for people and programs, and the W3C trace context that follows a command.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

use crate::id;

/// Starts logging to standard error: readable on a terminal, JSON elsewhere. `RUST_LOG` chooses
/// what is logged, `default` when it is absent. A second call changes nothing.
pub fn init(default: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let outcome = if std::io::stderr().is_terminal() { builder.try_init() } else { builder.json().try_init() };
    drop(outcome); // already started: the first one stays
}

/// A position in a trace: <https://www.w3.org/TR/trace-context/>, version 00.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    trace_id: String,
    span_id: String,
    flags: String,
}

impl TraceContext {
    /// Starts a trace.
    pub fn start() -> Self {
        Self { trace_id: id::random(), span_id: span_id(), flags: "01".to_owned() }
    }

    /// Reads a `traceparent`; `None` when it is not one of version 00.
    pub fn parse(traceparent: &str) -> Option<Self> {
        let mut parts = traceparent.split('-');
        let (version, trace_id, span_id, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let hex = |text: &str, len| {
            text.len() == len && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        };
        let some = |text: &str| text.bytes().any(|b| b != b'0');
        let sound = version == "00" && hex(trace_id, 32) && hex(span_id, 16) && hex(flags, 2);
        (sound && parts.next().is_none() && some(trace_id) && some(span_id)).then(|| Self {
            trace_id: trace_id.to_owned(),
            span_id: span_id.to_owned(),
            flags: flags.to_owned(),
        })
    }

    /// A step further along the same trace.
    #[must_use]
    pub fn child(&self) -> Self {
        Self { span_id: span_id(), ..self.clone() }
    }

    /// The trace's id.
    pub fn trace_id(&self) -> &str {
        &self.trace_id
    }

    /// The `traceparent` header.
    pub fn traceparent(&self) -> String {
        format!("00-{}-{}-{}", self.trace_id, self.span_id, self.flags)
    }
}

fn span_id() -> String {
    id::random()[..16].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_goes_on() {
        let text = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let context = TraceContext::parse(text).unwrap();
        assert_eq!(context.traceparent(), text);
        let child = context.child();
        assert_eq!(child.trace_id(), context.trace_id());
        assert_ne!(child.traceparent(), text);
    }

    #[test]
    fn nonsense_starts_no_trace() {
        let zero = format!("00-{}-b7ad6b7169203331-01", "0".repeat(32));
        for bad in ["", "00", &zero, "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "00-x-y-z"] {
            assert_eq!(TraceContext::parse(bad), None, "{bad}");
        }
    }
}
