//! One trace through five programs, as a collector sees it.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Attribute;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, Span};
use prost::Message as _;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::PATIENCE;
use crate::stack::{Stack, Ways};

/// The trace of the caller, and the caller's own place in it.
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";
/// The way of a command: which program does what, each step below the one before.
const WAY: [(&str, &str); 10] = [
    ("muster-gateway", "POST /api/commands"),
    ("muster-gateway", "forward"),
    ("muster-tasks", "POST /api/commands"),
    ("muster-tasks", "accept command"),
    ("muster-tasks", "publish"),
    ("muster-agent", "process command"),
    ("muster-agent", "run"),
    ("muster-agent", "report"),
    ("muster-result-ingestor", "store result"),
    ("muster-result-ingestor", "write to database"),
];

/// What a collector was sent: each span with the program that it is of.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<(String, Span)>>>);

impl Collector {
    async fn start() -> (Self, String) {
        let collector = Self::default();
        let take = async |State(kept): State<Self>, body: Bytes| {
            let request = ExportTraceServiceRequest::decode(body).unwrap();
            for of in request.resource_spans {
                let service = service(&of);
                let spans = of.scope_spans.into_iter().flat_map(|scope| scope.spans);
                kept.0.lock().unwrap().extend(spans.map(|span| (service.clone(), span)));
            }
        };
        let router = Router::new().route("/v1/traces", post(take)).with_state(collector.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (collector, url)
    }

    /// How far the way of a command can be followed.
    fn followed(&self) -> Vec<(String, String)> {
        follow(&self.0.lock().unwrap(), CALLER, &WAY)
    }
}

/// The longest way below `parent`: a command that meets no queue yet is published once more, beside the
/// first time.
fn follow(spans: &[(String, Span)], parent: &str, way: &[(&str, &str)]) -> Vec<(String, String)> {
    let Some(((service, name), rest)) = way.split_first() else { return Vec::new() };
    let is_next = |(of, span): &&(String, Span)| {
        of == service && span.name == *name && hex(&span.trace_id) == TRACE && hex(&span.parent_span_id) == parent
    };
    let below = |(of, span): &(String, Span)| {
        let mut way = vec![(of.clone(), span.name.clone())];
        way.extend(follow(spans, &hex(&span.span_id), rest));
        way
    };
    spans.iter().filter(is_next).map(below).max_by_key(Vec::len).unwrap_or_default()
}

fn service(of: &ResourceSpans) -> String {
    let attributes = &of.resource.as_ref().unwrap().attributes;
    let name = attributes.iter().find(|pair| pair.key == "service.name").unwrap();
    match &name.value.as_ref().unwrap().value {
        Some(Attribute::StringValue(name)) => name.clone(),
        other => panic!("{other:?} is no name"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_trace_leads_through_all_five_programs() {
    let (collector, url) = Collector::start().await;
    let env = vec![("OTEL_EXPORTER_OTLP_ENDPOINT", url), ("OTEL_BSP_SCHEDULE_DELAY", "50".to_owned())];
    let stack = Stack::by(&["one"], |ways| Ways { env, ..ways }).await;
    let command = json!({ "target_type": "node", "target": "one", "command": "printf %s $TRACEPARENT" });
    let request = stack.request(Method::POST, "/api/commands").json(&command);
    let answer = request.header("traceparent", format!("00-{TRACE}-{CALLER}-01")).send().await.unwrap();
    let task: Value = answer.json().await.unwrap();
    assert_eq!(task["trace_id"], TRACE);
    let printed = stack.results(&task).await[0]["stdout"].as_str().unwrap().to_owned();
    assert!(printed.starts_with(&format!("00-{TRACE}-")), "the command is in the trace too: {printed}");
    let start = Instant::now();
    while collector.followed().len() < WAY.len() {
        assert!(start.elapsed() < PATIENCE, "the way ends at {:?}", collector.followed().last());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for (name, process) in stack.processes.iter().filter(|(name, _)| *name != "one") {
        let said = process.launch.said();
        assert!(said.lines().all(|line| line.starts_with('{')), "{name} logs in JSON: {said}");
    }
    stack.stop();
}
