//! A position in a trace: <https://www.w3.org/TR/trace-context/>, version 00. It is the one type of
//! tracing that crosses the seams: HTTP headers, rows, messages and a command's environment carry it
//! as a `traceparent`. The one that the present task works under can be asked for anywhere.

use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};
use opentelemetry_sdk::trace::{IdGenerator as _, RandomIdGenerator};
use tokio::task::JoinHandle;

tokio::task_local! {
    static CURRENT: TraceContext;
}

/// A position in a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    trace: TraceId,
    span: SpanId,
    flags: TraceFlags,
}

impl TraceContext {
    /// Starts a trace.
    pub fn start() -> Self {
        let ids = RandomIdGenerator::default();
        Self { trace: ids.new_trace_id(), span: ids.new_span_id(), flags: TraceFlags::SAMPLED }
    }

    /// What the present task works under, if it is part of a trace.
    pub fn current() -> Option<Self> {
        CURRENT.try_with(|context| *context).ok()
    }

    /// Does `work` under this context.
    pub async fn scope<F: Future>(self, work: F) -> F::Output {
        CURRENT.scope(self, work).await
    }

    /// Does `work` in a task of its own, under what the present one works under: to its end, whoever
    /// stops waiting for it.
    pub fn spawn<F>(work: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        match Self::current() {
            Some(context) => tokio::spawn(context.scope(work)),
            None => tokio::spawn(work),
        }
    }

    /// Does `work` under what a row or a message belongs to, if that is a trace: so that what a batch
    /// logs about one of its messages names that message's trace.
    pub fn within<T>(traceparent: Option<&str>, work: impl FnOnce() -> T) -> T {
        match traceparent.and_then(Self::parse) {
            Some(context) => CURRENT.sync_scope(context, work),
            None => work(),
        }
    }

    /// Reads a `traceparent`; `None` when it is not one of version 00.
    pub fn parse(traceparent: &str) -> Option<Self> {
        let mut parts = traceparent.split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let hex = |text: &str, len| {
            text.len() == len && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        };
        let sound = version == "00" && hex(trace, 32) && hex(span, 16) && hex(flags, 2) && parts.next().is_none();
        let context = Self {
            trace: TraceId::from_hex(trace).ok().filter(|_| sound)?,
            span: SpanId::from_hex(span).ok()?,
            flags: TraceFlags::new(u8::from_str_radix(flags, 16).ok()?),
        };
        (context.trace != TraceId::INVALID && context.span != SpanId::INVALID).then_some(context)
    }

    /// The trace's id.
    pub fn trace_id(&self) -> String {
        self.trace.to_string()
    }

    /// The `traceparent` header.
    pub fn traceparent(&self) -> String {
        format!("00-{}-{}-{:02x}", self.trace, self.span, self.flags)
    }

    /// The same position in a trace that nobody is to record.
    pub(super) fn unsampled(self) -> Self {
        Self { flags: self.flags.with_sampled(false), ..self }
    }

    pub(super) fn of(span: &SpanContext) -> Self {
        Self { trace: span.trace_id(), span: span.span_id(), flags: span.trace_flags() }
    }

    pub(super) fn remote(&self) -> SpanContext {
        SpanContext::new(self.trace, self.span, self.flags, true, TraceState::NONE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn what_is_read_is_written_alike() {
        for flags in ["00", "01", "03", "ff"] {
            let text = TEXT.replace("-01", &format!("-{flags}"));
            assert_eq!(TraceContext::parse(&text).unwrap().traceparent(), text);
        }
        assert_eq!(TraceContext::parse(TEXT).unwrap().trace_id(), "0af7651916cd43dd8448eb211c80319c");
        let started = TraceContext::start();
        assert_eq!(TraceContext::parse(&started.traceparent()), Some(started));
    }

    #[tokio::test]
    async fn a_task_of_its_own_works_under_the_same() {
        let context = TraceContext::start();
        let seen = context.scope(async { TraceContext::spawn(async { TraceContext::current() }).await.unwrap() });
        assert_eq!(seen.await, Some(context));
        assert_eq!(TraceContext::spawn(async { TraceContext::current() }).await.unwrap(), None);
    }

    #[test]
    fn nonsense_is_no_position_in_a_trace() {
        let zero = format!("00-{}-b7ad6b7169203331-01", "0".repeat(32));
        let nowhere = format!("00-0af7651916cd43dd8448eb211c80319c-{}-01", "0".repeat(16));
        let (other, longer, upper) = (TEXT.replace("00-", "01-"), format!("{TEXT}-00"), TEXT.to_uppercase());
        for bad in ["", "00", &zero, &nowhere, &other, &longer, &upper, "00-x-y-z"] {
            assert_eq!(TraceContext::parse(bad), None, "{bad}");
        }
    }

    #[tokio::test]
    async fn a_task_knows_what_it_works_under() {
        assert_eq!(TraceContext::current(), None);
        let context = TraceContext::start();
        assert_eq!(context.scope(async { TraceContext::current() }).await, Some(context));
        assert_eq!(TraceContext::within(Some(TEXT), TraceContext::current), TraceContext::parse(TEXT));
        assert_eq!(TraceContext::within(None, TraceContext::current), None);
    }
}
