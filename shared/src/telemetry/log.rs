//! Log lines that name their trace: the last field of a line is the `trace_id` of what the logging
//! task works under. It comes from the task and not from a span of the log, because a filter that
//! keeps only warnings would drop such a span and the id with it.

use std::fmt;

use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{Format, FormatEvent, FormatFields, Full, Json, Writer};
use tracing_subscriber::registry::LookupSpan;

use super::TraceContext;

/// A format for lines, with the trace's id behind it.
pub(super) struct Traced<F> {
    lines: F,
    /// Ends a line that a trace's id is written behind; JSON's brace gives way to the field.
    end: &'static str,
    field: fn(&str) -> String,
}

impl Traced<Format<Full>> {
    /// For people.
    pub(super) fn text(lines: Format<Full>) -> Self {
        Self { lines, end: "\n", field: |id| format!(" trace_id={id}\n") }
    }
}

impl Traced<Format<Json>> {
    /// For programs.
    pub(super) fn json(lines: Format<Json>) -> Self {
        Self { lines, end: "}\n", field: |id| format!(",\"trace_id\":\"{id}\"}}\n") }
    }
}

impl<S, N, F> FormatEvent<S, N> for Traced<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(&self, ctx: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let Some(trace) = TraceContext::current() else { return self.lines.format_event(ctx, writer, event) };
        let mut line = String::new();
        self.lines.format_event(ctx, Writer::new(&mut line), event)?;
        match line.strip_suffix(self.end) {
            Some(head) => write!(writer, "{head}{}", (self.field)(&trace.trace_id())),
            None => writer.write_str(&line),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    async fn logged(trace: Option<TraceContext>, json: bool) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let layer = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(move || writer.clone());
        let _guard = if json {
            let layer = layer.json().map_event_format(Traced::json);
            tracing::subscriber::set_default(tracing_subscriber::registry().with(layer))
        } else {
            let layer = layer.map_event_format(Traced::text);
            tracing::subscriber::set_default(tracing_subscriber::registry().with(layer))
        };
        let say = async { tracing::warn!(what = "x", "said") };
        match trace {
            Some(trace) => trace.scope(say).await,
            None => say.await,
        }
        let bytes = lines.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[tokio::test]
    async fn a_line_names_its_trace() {
        let trace = TraceContext::start();
        let line: serde_json::Value = serde_json::from_str(&logged(Some(trace), true).await).unwrap();
        assert_eq!(line["trace_id"], trace.trace_id());
        assert_eq!((&line["fields"]["message"], &line["fields"]["what"]), (&"said".into(), &"x".into()));
        let text = logged(Some(trace), false).await;
        assert!(text.contains("said") && text.ends_with(&format!(" trace_id={}\n", trace.trace_id())), "{text}");
    }

    #[tokio::test]
    async fn a_line_outside_of_any_trace_names_none() {
        for json in [true, false] {
            let line = logged(None, json).await;
            assert!(line.contains("said") && !line.contains("trace_id"), "{line}");
        }
    }
}
