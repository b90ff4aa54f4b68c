//! A piece of work in a trace. It begins when it is made and is over when it is dropped; what its
//! work sends on, and the log lines of its work, carry its context.

use std::borrow::Cow;

use opentelemetry::trace::{Span as _, SpanKind, Status, TraceContextExt as _, Tracer as _};
use opentelemetry::{Context, KeyValue, Value};
use opentelemetry_sdk::trace::{SdkTracer, Span as Recorded};

use super::TraceContext;
use super::export;

/// Which side of a wall a span is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Answers a request.
    Server,
    /// Asks a service or a database.
    Client,
    /// Sends a message.
    Producer,
    /// Handles a message.
    Consumer,
    /// Works within a process.
    Internal,
}

impl From<Kind> for SpanKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Server => Self::Server,
            Kind::Client => Self::Client,
            Kind::Producer => Self::Producer,
            Kind::Consumer => Self::Consumer,
            Kind::Internal => Self::Internal,
        }
    }
}

/// A piece of work in a trace, under way.
#[derive(Debug)]
pub struct Span {
    context: TraceContext,
    recorded: Option<Recorded>,
}

impl Span {
    /// Begins work that follows `parent`, or that starts a trace.
    pub fn start(name: impl Into<Cow<'static, str>>, kind: Kind, parent: Option<TraceContext>) -> Self {
        Self::record(export::tracer(), name.into(), kind, parent)
    }

    /// Begins work that carries on what a row or a message belongs to; none when that is no trace.
    pub fn carry_on(name: &'static str, kind: Kind, traceparent: Option<&str>) -> Option<Self> {
        let parent = TraceContext::parse(traceparent?)?;
        Some(Self::start(name, kind, Some(parent)))
    }

    /// Begins a part of this work.
    pub fn part(&self, name: &'static str, kind: Kind) -> Self {
        Self::start(name, kind, Some(self.context))
    }

    fn record(tracer: Option<&SdkTracer>, name: Cow<'static, str>, kind: Kind, parent: Option<TraceContext>) -> Self {
        let Some(tracer) = tracer else { return Self::unrecorded(parent.unwrap_or_else(TraceContext::start)) };
        let context = parent.map_or_else(Context::new, |p| Context::new().with_remote_span_context(p.remote()));
        let span = tracer.build_with_context(tracer.span_builder(name).with_kind(kind.into()), &context);
        if span.is_recording() {
            return Self { context: TraceContext::of(span.span_context()), recorded: Some(span) };
        }
        Self::unrecorded(parent.unwrap_or_else(TraceContext::start).unsampled())
    }

    const fn unrecorded(context: TraceContext) -> Self {
        Self { context, recorded: None }
    }

    /// Its position in its trace.
    pub const fn context(&self) -> TraceContext {
        self.context
    }

    /// Does `work` as this span's; the span goes on until it is dropped.
    pub async fn scope<F: Future>(&self, work: F) -> F::Output {
        self.context.scope(work).await
    }

    /// Notes a fact. Never a secret, a command's text or its output: a collector keeps what it gets.
    pub fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        if let Some(span) = &mut self.recorded {
            span.set_attribute(KeyValue::new(key, value));
        }
    }

    /// Gives it the name that was not known at its beginning.
    pub fn rename(&mut self, name: String) {
        if let Some(span) = &mut self.recorded {
            span.update_name(name);
        }
    }

    /// Notes that the work failed.
    pub fn fail(&mut self, reason: &'static str) {
        if let Some(span) = &mut self.recorded {
            span.set_status(Status::error(reason));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use opentelemetry::trace::{SpanId, TracerProvider as _};
    use opentelemetry_sdk::error::OTelSdkResult;
    use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider, SpanData, SpanExporter};

    use super::*;

    #[derive(Clone, Debug, Default)]
    struct Kept(Arc<Mutex<Vec<SpanData>>>);

    impl SpanExporter for Kept {
        async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
            self.0.lock().unwrap().extend(batch);
            Ok(())
        }
    }

    fn collected(sampler: Sampler) -> (Kept, SdkTracer) {
        let kept = Kept::default();
        let provider = SdkTracerProvider::builder().with_sampler(sampler).with_simple_exporter(kept.clone()).build();
        (kept, provider.tracer("test"))
    }

    fn by_parent() -> Sampler {
        Sampler::ParentBased(Box::new(Sampler::AlwaysOn))
    }

    fn incoming(flags: &str) -> TraceContext {
        TraceContext::parse(&format!("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-{flags}")).unwrap()
    }

    #[test]
    fn what_follows_has_what_it_follows_as_its_parent() {
        let (kept, tracer) = collected(by_parent());
        let outer = Span::record(Some(&tracer), "outer".into(), Kind::Server, Some(incoming("01")));
        let inner = Span::record(Some(&tracer), "inner".into(), Kind::Internal, Some(outer.context()));
        let ids = [&outer, &inner].map(|span| span.recorded.as_ref().unwrap().span_context().span_id());
        drop((inner, outer));
        let spans = kept.0.lock().unwrap();
        assert!(spans.iter().all(|span| TraceContext::of(&span.span_context).trace_id() == incoming("01").trace_id()));
        let parent = |name: &str| spans.iter().find(|span| span.name == name).unwrap().parent_span_id;
        assert_eq!(parent("outer"), SpanId::from_hex("b7ad6b7169203331").unwrap());
        assert_eq!((parent("inner"), ids[0] == ids[1]), (ids[0], false));
    }

    #[test]
    fn who_is_not_to_be_recorded_stays_so_and_is_not_replaced() {
        let (kept, tracer) = collected(by_parent());
        let span = Span::record(Some(&tracer), "quiet".into(), Kind::Server, Some(incoming("00")));
        assert_eq!(span.context(), incoming("00"));
        drop(span);
        let (none, tracer) = collected(Sampler::AlwaysOff);
        let root = Span::record(Some(&tracer), "root".into(), Kind::Server, None);
        assert!(root.context().traceparent().ends_with("-00"));
        drop(root);
        assert!(kept.0.lock().unwrap().is_empty() && none.0.lock().unwrap().is_empty());
    }

    #[test]
    fn without_a_collector_the_trace_flows_all_the_same() {
        let span = Span::record(None, "work".into(), Kind::Internal, Some(incoming("01")));
        assert_eq!(span.context(), incoming("01"));
        let root = Span::record(None, "work".into(), Kind::Internal, None);
        assert_eq!(root.part("part", Kind::Client).context().trace_id(), root.context().trace_id());
        assert!(Span::carry_on("work", Kind::Consumer, None).is_none());
        assert!(Span::carry_on("work", Kind::Consumer, Some("nonsense")).is_none());
    }
}
