//! To the collector, over OTLP: protobuf on HTTP, on a thread of the batch processor's own. The
//! variables are those of OpenTelemetry and mean what they mean everywhere; without an endpoint
//! there is no exporter, no thread and no span. A collector that is away costs its spans and nothing
//! else: an export is not tried again, and what exceeds the processor's queue is dropped.

use std::sync::OnceLock;

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{ExporterBuildError, RetryPolicy, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::resource::EnvResourceDetector;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider, SpanData, SpanExporter};

use crate::id;

/// Variables of which one must be set for spans to be exported.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
/// Exports of one batch after the first that failed.
const RETRIES_MAX: usize = 0;

static PROVIDER: OnceLock<(SdkTracerProvider, SdkTracer)> = OnceLock::new();

/// What makes spans, if they are exported.
pub(super) fn tracer() -> Option<&'static SdkTracer> {
    PROVIDER.get().map(|(_, tracer)| tracer)
}

/// Starts exporting where the environment asks for it. A second call changes nothing.
pub(super) fn start(service: &'static str) -> Option<SdkTracerProvider> {
    if !is_wanted(|name| std::env::var(name).ok()) {
        return None;
    }
    match exporter() {
        Ok(exporter) => {
            let provider = PROVIDER.get_or_init(|| {
                let builder = SdkTracerProvider::builder().with_batch_exporter(exporter);
                let provider = builder.with_resource(resource(service)).build();
                let tracer = provider.tracer("muster");
                (provider, tracer)
            });
            Some(provider.0.clone())
        }
        Err(error) => {
            let cause = error.to_string();
            tracing::error!(cause, "spans are not exported; check the variables OTEL_EXPORTER_OTLP_*");
            None
        }
    }
}

fn is_wanted(variable: impl Fn(&str) -> Option<String>) -> bool {
    let is = |name: &str, value: &str| variable(name).is_some_and(|set| set.trim().eq_ignore_ascii_case(value));
    let is_set = |name: &str| variable(name).is_some_and(|set| !set.trim().is_empty());
    !is("OTEL_SDK_DISABLED", "true") && !is("OTEL_TRACES_EXPORTER", "none") && ENDPOINTS.into_iter().any(is_set)
}

fn exporter() -> Result<Outspoken, ExporterBuildError> {
    let retries = RetryPolicy::default().with_max_retries(RETRIES_MAX);
    opentelemetry_otlp::SpanExporter::builder().with_http().with_retry_policy(retries).build().map(Outspoken)
}

/// Who speaks. `OTEL_SERVICE_NAME` comes before `OTEL_RESOURCE_ATTRIBUTES`, and that before `service`.
fn resource(service: &'static str) -> Resource {
    let own = [
        KeyValue::new("service.name", service),
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("service.instance.id", id::random()),
    ];
    let builder = Resource::builder_empty().with_attributes(own).with_detector(Box::new(EnvResourceDetector::new()));
    match std::env::var("OTEL_SERVICE_NAME") {
        Ok(name) if !name.is_empty() => builder.with_service_name(name).build(),
        _ => builder.build(),
    }
}

/// The exporter, whose failures are logged: the SDK is silent about them.
#[derive(Debug)]
struct Outspoken(opentelemetry_otlp::SpanExporter);

impl SpanExporter for Outspoken {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let outcome = self.0.export(batch).await;
        if let Err(error) = &outcome {
            let cause = error.to_string();
            tracing::warn!(cause, spans, "spans could not be exported and are lost; check the collector");
        }
        outcome
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.0.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_exported_only_where_that_is_asked_for() {
        let wanted = |set: &[(&str, &str)]| {
            is_wanted(|name| set.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
        };
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318");
        assert!(wanted(&[endpoint]));
        assert!(wanted(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://127.0.0.1:4318/v1/traces")]));
        assert!(!wanted(&[]) && !wanted(&[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")]));
        assert!(!wanted(&[endpoint, ("OTEL_SDK_DISABLED", "TRUE")]));
        assert!(!wanted(&[endpoint, ("OTEL_TRACES_EXPORTER", "none")]));
    }
}
