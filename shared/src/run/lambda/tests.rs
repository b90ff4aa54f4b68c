//! A function that is handed its events directly. With the runtime API around it, it is tested as the
//! real programs, from the outside.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use axum::http::Uri;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::future::BoxFuture;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::bus::{Delivery, Handler, LocalBus, Verdict, topology};
use crate::db::Lite;
use crate::run::Bell;

const TOKEN: &str = "0123456789abcdef";

/// Says what each message deserves by its text, and counts those that are good.
#[derive(Default)]
struct Judge(AtomicU32);

impl Handler for Judge {
    fn handle(&self, deliveries: Vec<Delivery>) -> BoxFuture<'_, Vec<Verdict>> {
        let verdict = |delivery: &Delivery| match delivery.body.as_slice() {
            b"bad" => Verdict::Dead(format!("bad, from {}", delivery.traceparent.as_deref().unwrap_or("nowhere"))),
            b"later" => Verdict::Again,
            _ => {
                self.0.fetch_add(1, Ordering::Relaxed);
                Verdict::Done
            }
        };
        let verdicts = deliveries.iter().map(verdict).collect();
        Box::pin(async { verdicts })
    }
}

struct World {
    function: Function,
    judge: Arc<Judge>,
    bell: Bell,
    done: Arc<AtomicU32>,
    _folder: TempDir,
}

/// A chore that counts, and has more to do until its third time.
fn counting(done: &Arc<AtomicU32>, bell: &Bell) -> Chore {
    let done = Arc::clone(done);
    let work = Arc::new(move || {
        let more = done.fetch_add(1, Ordering::Relaxed) < 2;
        Box::pin(async move { Ok(more) }) as _
    });
    Chore { name: "counting", every: Duration::MAX, bell: bell.clone(), work }
}

/// A function with a consumer of `queue`, a chore that counts, and others.
async fn world(others: Vec<Chore>) -> World {
    let folder = tempfile::tempdir().unwrap();
    let lite = Lite::open(&folder.path().join("bus.db")).await.unwrap();
    let bus = Bus::Local(LocalBus::open(lite, Clock::System).await.unwrap());
    let (judge, bell, done) = (Arc::new(Judge::default()), Bell::default(), Arc::default());
    let rings = bell.clone();
    let routes = Router::new()
        .route("/api/ring", axum::routing::post(async move || rings.ring()))
        .route("/api/path", axum::routing::get(async |uri: Uri| uri.path().to_owned()));
    let mut chores = vec![counting(&done, &bell)];
    chores.extend(others);
    let consumers = vec![Consumer::new("queue", 2, Arc::clone(&judge) as _)];
    let service = Service { name: "test", routes, consumers, chores };
    let parts = Parts { db: None, bus: Some(bus) };
    let function = Function::new(service, parts, Guard::token(TOKEN).unwrap());
    World { function, judge, bell, done, _folder: folder }
}

impl World {
    async fn invoke(&self, event: &Value) -> Result<Value, String> {
        let mut context = Context::default();
        let deadline = Clock::System.now().plus(Duration::from_secs(10));
        context.deadline = deadline.0.unsigned_abs();
        let answer = self.function.invoke(LambdaEvent::new(to_raw_value(event).unwrap(), context)).await;
        answer.map(|answer| serde_json::from_str(answer.get()).unwrap()).map_err(|error| error.error_message)
    }

    /// What lies with the dead: its text and the reason.
    async fn dead(&self) -> Vec<(String, String)> {
        let mut hold = self.function.bus.as_ref().unwrap().subscribe(topology::DEAD).await.unwrap();
        let text = |dead: Delivery| (String::from_utf8(dead.body).unwrap(), dead.reason.unwrap());
        hold.take(100).await.unwrap().into_iter().map(text).collect()
    }
}

/// A request by an HTTP API, whose paths begin with the name of a stage that has one.
fn v2(method: &str, path: &str, stage: &str) -> Value {
    json!({
        "version": "2.0", "rawPath": path, "rawQueryString": "", "isBase64Encoded": false,
        "headers": { "authorization": format!("Bearer {TOKEN}"), "host": "x.example" },
        "requestContext": { "http": { "method": method, "path": path }, "stage": stage, "timeEpoch": 0 },
    })
}

/// A request by a REST API, whose paths leave the stage out.
fn v1(method: &str, path: &str) -> Value {
    json!({
        "resource": "/{proxy+}", "path": path, "httpMethod": method, "isBase64Encoded": false,
        "headers": { "Authorization": format!("Bearer {TOKEN}"), "Host": "x.example" },
        "requestContext": { "stage": "prod", "httpMethod": method, "path": format!("/prod{path}") },
    })
}

fn messages(queue: &str, texts: &[&str]) -> Value {
    let record = |text: &&str| json!({ "data": STANDARD.encode(text), "redelivered": false, "basicProperties": null });
    json!({ "eventSource": "aws:rmq", "rmqMessagesByQueue": { queue: texts.iter().map(record).collect::<Vec<_>>() } })
}

fn scheduled() -> Value {
    json!({ "detail-type": "Scheduled Event", "source": "aws.events", "detail": {} })
}

#[tokio::test]
async fn a_stage_is_no_part_of_the_path() {
    let world = world(Vec::new()).await;
    for event in [v2("GET", "/api/path", "$default"), v2("GET", "/prod/api/path", "prod"), v1("GET", "/api/path")] {
        let answer = world.invoke(&event).await.unwrap();
        assert_eq!((&answer["statusCode"], &answer["body"]), (&json!(200), &json!("/api/path")), "{event}");
    }
    let mut stranger = v2("GET", "/api/path", "$default");
    stranger["headers"] = json!({ "host": "localhost" });
    assert_eq!(world.invoke(&stranger).await.unwrap()["statusCode"], 401, "there is no loopback");
}

#[tokio::test]
async fn what_a_request_rang_for_is_done_before_its_answer() {
    let world = world(Vec::new()).await;
    assert_eq!(world.invoke(&v2("GET", "/api/path", "$default")).await.unwrap()["statusCode"], 200);
    assert_eq!(world.done.load(Ordering::Relaxed), 0, "nobody rang");
    assert_eq!(world.invoke(&v2("POST", "/api/ring", "$default")).await.unwrap()["statusCode"], 200);
    assert_eq!(world.done.load(Ordering::Relaxed), 3, "until there was no more to do");
}

#[tokio::test]
async fn work_that_takes_too_long_does_not_hold_back_the_answer() {
    let bell = Bell::default();
    let work = Arc::new(|| Box::pin(std::future::pending()) as _);
    let world = world(vec![Chore { name: "endless", every: Duration::MAX, bell: bell.clone(), work }]).await;
    bell.ring();
    let start = Instant::now();
    assert_eq!(world.invoke(&v2("POST", "/api/ring", "$default")).await.unwrap()["statusCode"], 200);
    assert!(start.elapsed() >= RUNG_TIME_MAX && start.elapsed() < RUNG_TIME_MAX * 10, "{:?}", start.elapsed());
    assert_eq!(world.done.load(Ordering::Relaxed), 3, "nor does it hold back other work");
}

#[tokio::test]
async fn the_schedule_does_every_chore_and_tells_of_one_that_failed() {
    let sound = world(Vec::new()).await;
    assert_eq!(sound.invoke(&scheduled()).await, Ok(Value::Null));
    assert_eq!(sound.done.load(Ordering::Relaxed), 3);
    let work = Arc::new(|| panic!("on purpose") as BoxFuture<'static, Result<bool>>);
    let broken = Chore { name: "broken", every: Duration::MAX, bell: Bell::default(), work };
    let world = world(vec![broken]).await;
    assert!(world.invoke(&scheduled()).await.is_err());
    assert_eq!(world.done.load(Ordering::Relaxed), 3, "the others were done");
    assert!(!world.bell.take(), "nobody rang for it");
}

#[tokio::test]
async fn a_poison_message_is_buried_and_its_batch_is_done() {
    let world = world(Vec::new()).await;
    let mut event = messages("queue::/", &["a", "bad", "b", "c", "bad"]);
    let records = &mut event["rmqMessagesByQueue"]["queue::/"];
    records[1]["basicProperties"] = json!({ "priority": null, "headers": { "traceparent": { "bytes": [116, 49] } } });
    records[4]["basicProperties"] = json!({ "headers": { "traceparent": "t2" } });
    records[3]["data"] = json!("not base64!");
    assert_eq!(world.invoke(&event).await, Ok(Value::Null));
    assert_eq!(world.judge.0.load(Ordering::Relaxed), 3);
    let dead = |reason: &str| ("bad".to_owned(), reason.to_owned());
    assert_eq!(world.dead().await, [dead("bad, from t1"), dead("bad, from t2")]);
}

#[tokio::test]
async fn what_comes_again_comes_as_a_whole_and_is_not_buried_yet() {
    let world = world(Vec::new()).await;
    assert!(world.invoke(&messages("queue::/", &["bad", "a", "b", "later"])).await.is_err());
    assert_eq!(world.dead().await, []);
    assert_eq!(world.invoke(&messages("queue::/", &["bad", "a", "b"])).await, Ok(Value::Null));
    assert_eq!(world.dead().await.len(), 1);
}

#[tokio::test]
async fn what_nobody_knows_is_refused_with_a_sentence() {
    let world = world(Vec::new()).await;
    for event in [
        json!({}),
        json!(null),
        json!([1, 2]),
        json!("x"),
        json!({ "requestContext": {} }),
        json!({ "detail-type": "EC2 Instance State-change Notification" }),
        json!({ "Records": [{ "eventSource": "aws:sqs" }] }),
        messages("other::/", &["a"]),
    ] {
        let said = world.invoke(&event).await.unwrap_err();
        assert!(said.contains("; send only") || said.contains("`other`"), "{event}: {said}");
    }
}
