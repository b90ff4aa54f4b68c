//! One trace and the metrics of a whole plane, seen from outside: the program runs as a process of
//! its own, because what exports spans is one for each process, and a collector in the test keeps
//! what it is sent.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so")]

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use serde_json::{Value, json};

/// How long a condition may take to come true on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// The trace of the caller, and the caller's own place in it.
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

/// The way of a command, each step below the one before.
const WAY: [&str; 10] = [
    "POST /api/commands",
    "forward",
    "POST /api/commands",
    "accept command",
    "publish",
    "process command",
    "run",
    "report",
    "store result",
    "write to database",
];

/// What a collector was sent.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<ExportTraceServiceRequest>>>);

impl Collector {
    async fn start() -> (Self, String) {
        let collector = Self::default();
        let take = async |State(kept): State<Self>, body: Bytes| {
            kept.0.lock().unwrap().push(ExportTraceServiceRequest::decode(body).unwrap());
        };
        let router = Router::new().route("/v1/traces", post(take)).with_state(collector.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (collector, url)
    }

    fn spans(&self) -> Vec<Span> {
        let requests = self.0.lock().unwrap();
        let scopes = requests.iter().flat_map(|request| &request.resource_spans).flat_map(|of| &of.scope_spans);
        scopes.flat_map(|scope| scope.spans.clone()).collect()
    }

    fn resource(&self) -> Vec<(String, String)> {
        let requests = self.0.lock().unwrap();
        let attributes = &requests[0].resource_spans[0].resource.as_ref().unwrap().attributes;
        attributes.iter().map(|pair| (pair.key.clone(), format!("{:?}", pair.value))).collect()
    }

    /// Of the spans in `trace` those with the names of [`WAY`], each below the one before.
    fn way(&self, trace: &str, from: &str) -> Vec<Span> {
        let mut spans = self.spans();
        spans.retain(|span| hex(&span.trace_id) == trace);
        follow(&spans, from, &WAY)
    }
}

/// The longest way below `parent`: a command that meets no queue yet is published once more, beside the
/// first time.
fn follow(spans: &[Span], parent: &str, way: &[&str]) -> Vec<Span> {
    let Some((name, rest)) = way.split_first() else { return Vec::new() };
    let is_next = |span: &&Span| span.name == *name && hex(&span.parent_span_id) == parent;
    let below = |span: &Span| {
        let mut way = vec![span.clone()];
        way.extend(follow(spans, &hex(&span.span_id), rest));
        way
    };
    spans.iter().filter(is_next).map(below).max_by_key(Vec::len).unwrap_or_default()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A running plane, killed when the test is over.
struct Up {
    child: Child,
    url: String,
    http: reqwest::Client,
    _folder: tempfile::TempDir,
}

impl Up {
    fn start(variables: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_muster"));
        let foreign = |name: &str| name.starts_with("OTEL_") || name.starts_with("MUSTER_") || name == "RUST_LOG";
        for (name, _) in std::env::vars().filter(|(name, _)| foreign(name)) {
            command.env_remove(name);
        }
        command.args(["up", "--listen", "127.0.0.1:0", "--agents", "2", "--data-dir"]).arg(folder.path());
        let mut child = command.envs(variables.iter().copied()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let url = line.split_whitespace().find(|word| word.starts_with("http://")).unwrap_or(&line).to_owned();
        Self { child, url, http: reqwest::Client::builder().no_proxy().build().unwrap(), _folder: folder }
    }

    /// Runs a command on one server; its task, and what it printed.
    async fn run(&self, traceparent: Option<&str>) -> (Value, String) {
        let body = json!({ "target_type": "node", "target": "local-1", "command": "printf %s $TRACEPARENT" });
        let mut request = self.http.post(format!("{}/api/commands", self.url)).json(&body);
        if let Some(traceparent) = traceparent {
            request = request.header("traceparent", traceparent);
        }
        let task: Value = request.send().await.unwrap().json().await.unwrap();
        let results = format!("/api/tasks/{}/results", task["task_id"].as_str().unwrap());
        let start = Instant::now();
        loop {
            let answer: Value = serde_json::from_str(&self.get(&results).await).unwrap();
            if let Some(printed) = answer[0]["stdout"].as_str() {
                return (task, printed.to_owned());
            }
            assert!(start.elapsed() < PATIENCE, "there is no result: {answer}");
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn get(&self, path: &str) -> String {
        self.http.get(format!("{}{path}", self.url)).send().await.unwrap().text().await.unwrap()
    }

    fn interrupt(&mut self) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        self.child.kill().ok(); // it may have ended already
        self.child.wait().ok();
    }
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "{what} does not come true");
        tokio::time::sleep(LOOK).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_trace_leads_from_the_request_to_the_stored_result() {
    let (collector, endpoint) = Collector::start().await;
    let mut up = Up::start(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint), ("OTEL_BSP_SCHEDULE_DELAY", "50")]);
    let (task, printed) = up.run(Some(&format!("00-{TRACE}-{CALLER}-01"))).await;
    assert_eq!(task["trace_id"], TRACE);
    until("the whole way was exported", || collector.way(TRACE, CALLER).len() == WAY.len()).await;
    let way = collector.way(TRACE, CALLER);
    assert_eq!(printed, format!("00-{TRACE}-{}-01", hex(&way[6].span_id)), "the command is below `run`");
    // Server, client, server, internal, producer, consumer, internal, producer, consumer, client.
    assert_eq!(way.iter().map(|span| span.kind).collect::<Vec<_>>(), [2, 3, 2, 1, 4, 5, 1, 4, 5, 3]);
    let resource = collector.resource();
    let says = |key: &str, value: &str| resource.iter().any(|(name, text)| name == key && text.contains(value));
    assert!(says("service.name", "\"muster\"") && says("service.instance.id", "") && says("service.version", "0."));
    up.interrupt();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_caller_does_not_record_is_not_recorded_and_flows_all_the_same() {
    let (collector, endpoint) = Collector::start().await;
    let delay = "600000"; // so that only the end of the process hands in what there is
    let traces = format!("{endpoint}/v1/traces");
    let mut up = Up::start(&[
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &traces),
        ("OTEL_BSP_SCHEDULE_DELAY", delay),
        ("OTEL_SERVICE_NAME", "mine"),
    ]);
    let quiet = format!("00-{TRACE}-{CALLER}-00");
    let (task, printed) = up.run(Some(&quiet)).await;
    assert_eq!((&task["trace_id"], printed), (&TRACE.into(), quiet));
    let (task, _) = up.run(None).await;
    up.interrupt();
    let traces: BTreeSet<_> = collector.spans().iter().map(|span| hex(&span.trace_id)).collect();
    assert!(!traces.contains(TRACE), "the caller's own is not among them");
    let own = task["trace_id"].as_str().unwrap();
    assert_eq!(collector.way(own, "").len(), WAY.len(), "flushed at the end");
    assert!(collector.resource().iter().any(|(key, name)| key == "service.name" && name.contains("\"mine\"")));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_collector_the_trace_reaches_the_command() {
    let up = Up::start(&[]);
    let (task, printed) = up.run(None).await;
    let trace = task["trace_id"].as_str().unwrap();
    assert!(printed.starts_with(&format!("00-{trace}-")) && printed.ends_with("-01"), "{printed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_costs_its_spans_alone() {
    let mut up = Up::start(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")]);
    let (task, printed) = up.run(Some(&format!("00-{TRACE}-{CALLER}-01"))).await;
    assert_eq!(task["trace_id"], TRACE);
    assert!(printed.starts_with(&format!("00-{TRACE}-")), "{printed}");
    let start = Instant::now();
    up.interrupt();
    assert!(start.elapsed() < PATIENCE);
}

/// The value of a series, 0 when there is none.
fn value(text: &str, series: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.map_or(0.0, |value| value.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_is_counted() {
    let up = Up::start(&[]);
    up.run(None).await;
    assert!(up.get("/api/nothing/here").await.contains("no such path"));
    let settled = r#"muster_bus_verdicts_total{queue="results",verdict="done"}"#;
    let start = Instant::now();
    let text = loop {
        let text = up.get("/metrics").await;
        if value(&text, settled) >= 1.0 {
            break text;
        }
        assert!(start.elapsed() < PATIENCE, "{text}");
        tokio::time::sleep(LOOK).await;
    };
    well_formed(&text);
    for (series, expected) in [
        (r#"muster_http_requests_total{service="gateway",method="POST",route="/api/commands",status="201"}"#, 1.0),
        (r#"muster_http_requests_total{service="tasks",method="POST",route="/api/commands",status="201"}"#, 1.0),
        (r#"muster_http_request_seconds_count{service="tasks",method="POST",route="/api/commands"}"#, 1.0),
        (r#"muster_http_requests_total{service="gateway",method="GET",route="none",status="404"}"#, 1.0),
        (r#"muster_bus_published_total{to="agent",outcome="confirmed"}"#, 1.0),
        (r#"muster_bus_delivered_total{queue="agent"}"#, 1.0),
        (r#"muster_invocations_total{state="queued"}"#, 1.0),
        (r#"muster_invocations_total{state="succeeded"}"#, 1.0),
    ] {
        assert_eq!(value(&text, series), expected, "{series} in\n{text}");
    }
    let batches = r#"muster_ingest_batch_messages_count{queue="results"}"#;
    assert!(value(&text, batches) >= 1.0, "{batches} in\n{text}");
    assert!(!text.contains(TRACE) && !text.contains("local-1") && !text.contains("/api/tasks/0"), "{text}");
}

/// What Prometheus' own parser asks for: each series has a type, stands with its kind, and is there
/// once; a histogram's buckets end with `+Inf`, which is its count.
fn well_formed(text: &str) {
    let (mut families, mut seen) = (BTreeSet::new(), BTreeSet::new());
    let mut family = "";
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some(named) = line.strip_prefix("# TYPE ") {
            family = named.split(' ').next().unwrap();
            assert!(families.insert(family), "{family} comes twice");
            assert!(text.contains(&format!("# HELP {family} ")), "{family} is not explained");
        } else if !line.starts_with("# HELP ") {
            let (series, number) = line.rsplit_once(' ').unwrap();
            assert!(series.starts_with(family) && family.starts_with("muster_"), "{line}");
            assert!(number.parse::<f64>().is_ok() && seen.insert(series), "{line}");
        }
    }
    let infinite = text.lines().filter(|line| line.contains("le=\"+Inf\"")).count();
    assert_eq!(infinite, text.lines().filter(|line| line.contains("_count{")).count());
}
