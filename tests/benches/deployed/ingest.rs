//! One ingestor at a backlog: results a second, each verified and stored.
//!
//! The results are real: of 2,000 enrolled servers, for ten tasks each, signed before the clock starts.
//! They lie in the broker while the ingestor is away.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use shared::bus::rabbit::{Role, Settings};
use shared::bus::{Address, Bus, Message, Receipt, Verdict, topology};
use shared::clock::{Clock, Time};
use shared::contract::key::Algorithm;
use shared::contract::signed::{Kind, ResultReport};
use shared::db::Db;
use shared::rules::invocation::Ending;
use shared::sign::{Envelope, KeyState, Sealed, SigningKey, TrustedKey};
use shared::store;

use crate::fleet::{self, AGENTS};
use crate::floors;
use crate::harness::{PATIENCE, id};
use crate::sample::rate;
use crate::stack::Stack;

/// Tasks for all of them.
const TASKS: usize = 10;
/// Cores to sign on beforehand.
const CORES: usize = 2;
/// Messages published together.
const TOGETHER: usize = 1_000;
/// Deliveries taken together when the broker alone is measured, as many as the ingestor takes.
const TAKEN: usize = 200;
/// How long to wait between two looks.
const LOOK: Duration = Duration::from_millis(10);
const INGESTOR: &str = "muster-result-ingestor";

type Keys = BTreeMap<String, SigningKey>;

pub async fn measure() {
    let mut stack = Stack::new(&[]).await;
    fleet::run(&stack, 1);
    let (keys, db) = (keys(), stack.database.pool());
    let digests = tasks(&stack, &db).await;
    assert!(stack.process(INGESTOR).stop().success());
    let messages = messages(&keys, &digests);
    let url = stack.vhost.plane_url();
    let bus = Bus::rabbit(&Settings { url, ca_file: None, role: Role::Plane, name: "bench".to_owned() }).unwrap();
    let published = publish(&bus, &messages).await;
    let consumed = consume(&bus, messages.len()).await;
    publish(&bus, &messages).await;
    stack.process(INGESTOR).restart();
    let (stored, with_start) = stored(&db, messages.len()).await;
    floors::table(&db).await;
    let shown = |what: &str, rate: f64| println!("  {what:<52} {rate:.0} a second");
    shown(&format!("one ingestor at a backlog of {} results", messages.len()), stored);
    println!("  {:<52} {:.2} s", "the same from the start of its process to the last", with_start.as_secs_f64());
    shown("floor: results verified, 2,048 bits, one core", verified(&keys, &messages));
    shown("floor: deliveries taken and acknowledged", consumed);
    shown("floor: rows inserted, 200 a transaction", floors::rows(&db).await);
    shown("aside: results published and confirmed", published);
    db.close().await;
    stack.stop();
}

fn keys() -> Keys {
    let hostname = |place: usize| format!("sim-{place:05}");
    let key = |place| {
        let pem = std::fs::read_to_string(fleet::keys().join(format!("{}.2048.pem", hostname(place)))).unwrap();
        (hostname(place), SigningKey::from_pem(&pem).unwrap())
    };
    (1..=AGENTS).map(key).collect()
}

/// Posts the tasks, waits until the relay is done with them, and returns their digests by id.
async fn tasks(stack: &Stack, db: &Db) -> BTreeMap<String, String> {
    let command = json!({ "target_type": "group", "target": "fleet", "command": "true" });
    let mut ids = BTreeSet::new();
    for _ in 0..TASKS {
        ids.insert(id(&stack.send(command.clone()).await).to_owned());
    }
    for id in &ids {
        let sent = |task: &Value| task["counts"] == json!({ "sent": AGENTS });
        stack.until(&format!("/api/tasks/{id}"), sent).await;
    }
    let signed = store::wave::signed(db, ids.into_iter().map(|id| (id, 1)).collect()).await.unwrap();
    signed.into_iter().map(|task| (task.task_id, task.command_digest)).collect()
}

/// A signed result of every server for every task, signed on all cores.
fn messages(keys: &Keys, digests: &BTreeMap<String, String>) -> Vec<Message> {
    let pairs: Vec<_> = digests
        .iter()
        .flat_map(|(task, digest)| keys.iter().map(move |(host, key)| (task, digest, host, key)))
        .collect();
    std::thread::scope(|scope| {
        let sign = |part: &[(&String, &String, &String, &SigningKey)]| {
            part.iter().map(|(task, digest, host, key)| message(task, digest, host, key)).collect::<Vec<_>>()
        };
        let parts = pairs.chunks(pairs.len().div_ceil(CORES));
        let threads: Vec<_> = parts.map(|part| scope.spawn(move || sign(part))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}

fn message(task_id: &str, digest: &str, hostname: &str, key: &SigningKey) -> Message {
    let report = ResultReport {
        iss: hostname.to_owned(),
        task_id: task_id.to_owned(),
        command_digest: digest.to_owned(),
        status: Ending::Succeeded,
        reason: None,
        exit_code: 0,
        signal: None,
        stdout: String::new(),
        stderr: String::new(),
        stdout_bytes: 0,
        stderr_bytes: 0,
        truncated: false,
        started_at: Some(0),
        finished_at: Time(1),
        boot_id: "bench".to_owned(),
    };
    let envelope = Envelope::sign(Kind::Result, serde_json::to_vec(&report).unwrap(), key).unwrap();
    let address = Address::Report(Kind::Result, hostname.to_owned());
    Message { address, body: envelope.to_json().into_bytes(), traceparent: None, ttl: None }
}

async fn publish(bus: &Bus, messages: &[Message]) -> f64 {
    let start = Instant::now();
    for part in messages.chunks(TOGETHER) {
        let receipts = bus.publish(part.to_vec()).await;
        assert!(receipts.iter().all(|receipt| matches!(receipt, Ok(Receipt::Confirmed))), "{:?}", receipts.first());
    }
    rate(messages.len(), start.elapsed())
}

/// Takes as many results as that off the queue, and believes none.
async fn consume(bus: &Bus, count: usize) -> f64 {
    let start = Instant::now();
    let (mut queue, mut taken) = (bus.subscribe(topology::RESULTS).await.unwrap(), 0);
    while taken < count {
        queue.ready().await.unwrap();
        let deliveries = queue.take(TAKEN).await.unwrap();
        taken += deliveries.len();
        queue.settle(deliveries.iter().map(|one| (one.tag, Verdict::Done)).collect()).await.unwrap();
    }
    rate(count, start.elapsed())
}

/// The rate from the first results that are seen to the last, and the time since the start.
async fn stored(db: &Db, count: usize) -> (f64, Duration) {
    let (start, before, mut first) = (Instant::now(), succeeded(db).await, None);
    loop {
        let (now, at) = (succeeded(db).await - before, Instant::now());
        if now > 0 && first.is_none() {
            first = Some((now, at));
        }
        if let Some((seen, since)) = first.filter(|_| now == count) {
            return (rate(count - seen, at - since), at - start);
        }
        assert!(start.elapsed() < PATIENCE, "only {now} of {count} are stored");
        tokio::time::sleep(LOOK).await;
    }
}

async fn succeeded(db: &Db) -> usize {
    let query = "select cast(coalesce(sum(succeeded), 0) as signed) from tasks";
    let (count,): (i64,) = shared::read!(db, c => sqlx::query_as(query).fetch_one(c).await).unwrap();
    count as usize
}

fn verified(keys: &Keys, messages: &[Message]) -> f64 {
    let trusted = |(owner, key): (&String, &SigningKey)| TrustedKey {
        owner: owner.clone(),
        key: key.public().clone(),
        algorithm: Algorithm::PS256,
        state: KeyState::Active,
    };
    let trusted: BTreeMap<_, _> = keys.iter().map(|pair| (pair.1.keyid().to_owned(), trusted(pair))).collect();
    let (start, now) = (Instant::now(), Clock::System.now());
    for message in messages {
        let sealed = Sealed::parse(&message.body, &[Kind::Result, Kind::Event]).unwrap();
        let key = trusted.get(sealed.keyid());
        sealed.open_report(key, now).unwrap();
    }
    rate(messages.len(), start.elapsed())
}
