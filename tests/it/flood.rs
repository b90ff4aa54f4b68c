//! Forged reports by the thousand through the real ingestor, with good ones in between: none gets in,
//! each is given up for the reason that it must be, a forged one costs hardly more than a good one, and
//! memory stays where it was.
//!
//! It runs in a process of its own, or the memory of all other tests would be measured with it.
//! `MUSTER_FLOOD` is how many are sent.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use nix::sys::resource::{UsageWho, getrusage};
use shared::bus::{Address, Consumer, Delivery, Handler, Message, Verdict, consume, topology};
use shared::contract::signed::{Kind, ResultReport};
use shared::rules::invocation::Ending;
use shared::rules::limits::{DEAD_LETTERS_MAX, ENVELOPE_BYTES_MAX};
use shared::sign::{Envelope, Inbound, SigningKey};
use shared::store;

use crate::fuzz::random::Random;
use crate::steps::{Parts, START, keys, open, result};

const TEST: &str = "flood::forged_reports_neither_get_in_nor_in_the_way";
/// Set in the process of its own.
const CHILD: &str = "MUSTER_FLOOD_CHILD";
const FORGED: usize = 20_000;
/// Good reports without forged ones, and then among them.
const GOOD: [usize; 2] = [200, 400];
/// Reports that wait at a time.
const CHUNK: usize = 1_000;
/// Signed messages of each sort, which are sent again and again.
const POOL: usize = 20;
/// A forged report costs at most so many times what a good one does; in truth about as much, but both
/// are measured while other tests run.
const FORGED_COST_MAX: f64 = 5.0;
/// How much memory may grow, in kibibytes.
const GROWTH_KIB_MAX: usize = 32 * 1024;

#[test]
fn forged_reports_neither_get_in_nor_in_the_way() {
    if std::env::var_os(CHILD).is_none() {
        let test = std::env::current_exe().unwrap();
        let done = Command::new(test).args([TEST, "--exact", "--nocapture"]).env(CHILD, "1").output().unwrap();
        println!("{}", String::from_utf8_lossy(&done.stdout));
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.unwrap().block_on(flood());
}

/// Counts what the ingestor gives up, by reason.
struct Counting {
    ingestor: Arc<dyn Handler>,
    reasons: Mutex<BTreeMap<String, usize>>,
}

impl Handler for Counting {
    fn handle(&self, deliveries: Vec<Delivery>) -> BoxFuture<'_, Vec<Verdict>> {
        Box::pin(async move {
            let verdicts = self.ingestor.handle(deliveries).await;
            let mut reasons = self.reasons.lock().unwrap();
            for verdict in &verdicts {
                let reason = match verdict {
                    Verdict::Done => "stored",
                    Verdict::Again => "again",
                    Verdict::Dead(reason) => reason,
                };
                *reasons.entry(reason.to_owned()).or_default() += 1;
            }
            verdicts
        })
    }
}

async fn flood() {
    let forged = std::env::var("MUSTER_FLOOD").map_or(FORGED, |text| text.parse().unwrap());
    let parts = Parts::over_sqlite().await;
    let forger = Forger::new(&parts).await;
    let sink = Sink::of(&parts);
    let alone = good(&parts, GOOD[0]).await;
    sink.publish(alone).await;
    let alone = GOOD[0] as f64 / sink.ingest().await.as_secs_f64();
    let mut expected = BTreeMap::from([("stored".to_owned(), GOOD[0] + GOOD[1])]);
    let mut good = good(&parts, GOOD[1]).await;
    let (mut random, mut sent, mut took, mut before) = (Random::new(7), 0, Duration::ZERO, 0);
    while sent < forged {
        let mut chunk = Vec::new();
        for _ in 0..CHUNK.min(forged - sent) {
            let (reason, body) = forger.forge(&mut random);
            *expected.entry(reason.to_owned()).or_default() += 1;
            chunk.push(body);
            sent += 1;
        }
        let share = (good.len() * CHUNK).div_ceil(forged + CHUNK - sent).min(good.len());
        for (place, body) in good.drain(..share).enumerate() {
            chunk.insert(place * chunk.len() / share, body);
        }
        sink.publish(chunk).await;
        took += sink.ingest().await;
        sink.bury().await;
        before = if before == 0 { resident_kib() } else { before };
    }
    assert!(good.is_empty());
    let grown = resident_kib().saturating_sub(before);
    // What a forged one costs, once the good ones are taken off at the price that they have alone.
    let (good_ms, took_ms) = (1_000.0 / alone, 1_000.0 * took.as_secs_f64());
    let forged_ms = (took_ms - GOOD[1] as f64 * good_ms) / forged as f64;
    let reasons = sink.counting.reasons.lock().unwrap().clone();
    println!("{forged} forged reports through the ingestor, {} good ones among them:", GOOD[1]);
    reasons.iter().for_each(|(reason, count)| println!("  {count:>8}  {reason}"));
    println!("a good one takes {good_ms:.2} ms, a forged one {forged_ms:.2} ms; memory +{grown} KiB");
    assert_eq!(reasons, expected);
    assert!(grown < GROWTH_KIB_MAX, "memory grew by {grown} KiB");
    assert!(forged_ms < FORGED_COST_MAX * good_ms, "forged reports hold the good ones up");
    everything_good_is_stored(&parts).await;
}

async fn everything_good_is_stored(parts: &Parts) {
    let count = async |sql: &'static str| {
        let (count,): (i64,) = shared::read!(&parts.ctx.db, c => sqlx::query_as(sql).fetch_one(c).await).unwrap();
        count
    };
    let good = (GOOD[0] + GOOD[1]) as i64;
    assert_eq!(count("select count(*) from results").await, good);
    assert_eq!(count("select count(*) from invocations where status = 'succeeded'").await, good);
    let letters = count("select count(*) from dead_letters").await;
    assert!((1..=DEAD_LETTERS_MAX as i64).contains(&letters), "{letters}");
}

/// Where reports go.
struct Sink<'p> {
    parts: &'p Parts,
    counting: Arc<Counting>,
    results: Consumer,
    dead: Consumer,
}

impl<'p> Sink<'p> {
    fn of(parts: &'p Parts) -> Self {
        let consumers = result_ingestor::service(parts.ctx.clone()).consumers;
        let of = |queue| consumers.iter().find(|consumer| consumer.queue == queue).unwrap().clone();
        let (results, dead) = (of(topology::RESULTS), of(topology::DEAD));
        let counting = Arc::new(Counting { ingestor: Arc::clone(&results.handler), reasons: Mutex::default() });
        let results = Consumer { handler: Arc::clone(&counting) as _, ..results };
        Self { parts, counting, results, dead }
    }

    async fn publish(&self, bodies: Vec<Vec<u8>>) {
        let address = Address::Report(Kind::Result, "a".to_owned());
        let message = |body| Message { address: address.clone(), body, traceparent: None, ttl: None };
        for receipt in self.parts.ctx.bus.publish(bodies.into_iter().map(message).collect()).await {
            receipt.unwrap();
        }
    }

    /// Lets the ingestor take what there is. Returns the processor time that this took, since what else
    /// the machine does is not the reports' doing.
    async fn ingest(&self) -> Duration {
        let before = processor_time();
        self.exhaust(&self.results).await;
        processor_time().saturating_sub(before)
    }

    async fn bury(&self) {
        self.exhaust(&self.dead).await;
    }

    async fn exhaust(&self, consumer: &Consumer) {
        let mut hold = self.parts.ctx.bus.subscribe(&consumer.queue).await.unwrap();
        while consume::step(&mut hold, consumer).await.unwrap().0 > 0 {}
    }
}

/// Good reports, each about a task of its own.
async fn good(parts: &Parts, number: usize) -> Vec<Vec<u8>> {
    let mut reports = Vec::new();
    for _ in 0..number {
        parts.send().await;
    }
    while reports.len() < number {
        parts.relay().await;
        for delivery in parts.take().await {
            let Inbound::Command(command) = open(&delivery, START) else { panic!("nobody cancels here") };
            let body = result(&command.body().task_id, command.digest(), Ending::Succeeded, "good");
            reports.push(signed(Kind::Result, &keys()[1], &body));
        }
    }
    reports
}

fn signed(kind: Kind, key: &SigningKey, body: &impl serde::Serialize) -> Vec<u8> {
    Envelope::sign(kind, serde_json::to_vec(body).unwrap(), key).unwrap().to_json().into_bytes()
}

/// Makes messages that must be refused, and knows why.
struct Forger {
    /// An envelope that anybody may have seen.
    seen: Vec<u8>,
    /// Signed by somebody, and wrong all the same.
    pools: Vec<(&'static str, Vec<Vec<u8>>)>,
    /// One byte more than is read.
    large: Vec<u8>,
}

impl Forger {
    async fn new(parts: &Parts) -> Self {
        let [b, c] = [SigningKey::generate_small().unwrap(), SigningKey::generate_small().unwrap()];
        let mut tx = parts.ctx.db.begin().await.unwrap();
        store::key::put(&mut tx, "b", b.public(), None, START).await.unwrap();
        store::key::put(&mut tx, "c", c.public(), None, START).await.unwrap();
        store::key::revoke(&mut tx, "c", START).await.unwrap();
        tx.commit().await.unwrap();
        let task = parts.send().await;
        parts.relay().await;
        let delivery = parts.take().await.remove(0);
        let Inbound::Command(command) = open(&delivery, START) else { panic!("nobody cancels here") };
        let answer = result(&task, command.digest(), Ending::Succeeded, "forged");
        let pool = |key: &SigningKey, kind: Kind, spoil: &dyn Fn(&mut ResultReport)| -> Vec<_> {
            let mut body = answer.clone();
            spoil(&mut body);
            (0..POOL)
                .map(|number| signed(kind, key, &ResultReport { boot_id: format!("{number}"), ..body.clone() }))
                .collect()
        };
        let [plane, a] = keys();
        let same = |_: &mut ResultReport| ();
        let pools = vec![
            ("unknown_key", pool(plane, Kind::Result, &same)),
            ("revoked_key", pool(&c, Kind::Result, &|body| body.iss = "c".to_owned())),
            ("wrong_issuer", pool(&b, Kind::Result, &same)),
            ("wrong_type", pool(a, Kind::Heartbeat, &same)),
            ("wrong_type", pool(plane, Kind::Command, &same)),
            ("bad_body", pool(a, Kind::Event, &same)),
            ("unknown_task", pool(a, Kind::Result, &|body| body.task_id = "0".repeat(32))),
            ("wrong_digest", pool(a, Kind::Result, &|body| body.command_digest = "0".repeat(64))),
            ("not_a_target", pool(&b, Kind::Result, &|body| body.iss = "b".to_owned())),
        ];
        let seen = signed(Kind::Result, a, &answer);
        Self { seen, pools, large: vec![b' '; ENVELOPE_BYTES_MAX + 1] }
    }

    fn forge(&self, random: &mut Random) -> (&'static str, Vec<u8>) {
        let mut body = self.seen.clone();
        match random.below(16) {
            0 => body.truncate(random.below(body.len())),
            1 => body = random.bytes(500),
            2 => body.splice(1..1, *b"\"payload\":\"AA==\",").for_each(drop),
            3 => body = [b"[", body.as_slice(), b"]"].concat(),
            4 => body[random.below(self.seen.len())] = 0xff,
            5 => body = ["{\"payload\":".repeat(1 + random.below(400)).as_bytes(), b"1e999"].concat(),
            6 => body = self.retyped(random),
            7 => self.flip(&mut body, "\"keyid\":\"sha256:", 64, random),
            8 | 9 => self.flip(&mut body, "\"sig\":\"", 500, random),
            10 | 11 => self.flip(&mut body, "\"payload\":\"", 300, random),
            12 if random.one_in(60) => body.clone_from(&self.large),
            _ => {
                let (reason, pool) = random.pick(&self.pools);
                return (*reason, random.pick(pool).clone());
            }
        }
        (Self::reason(&body, &self.seen), body)
    }

    /// Why a message that nobody signed is refused, told by its form alone.
    fn reason(body: &[u8], seen: &[u8]) -> &'static str {
        if body.len() > ENVELOPE_BYTES_MAX {
            return "too_large";
        }
        let Ok(envelope) = serde_json::from_slice::<serde_json::Value>(body) else { return "malformed" };
        let seen: serde_json::Value = serde_json::from_slice(seen).unwrap();
        match () {
            () if !envelope.is_object() || body.windows(9).filter(|text| text == b"\"payload\"").count() > 1 => {
                "malformed"
            }
            () if envelope["payloadType"] != seen["payloadType"] => "wrong_type",
            () if envelope["signatures"][0]["keyid"] != seen["signatures"][0]["keyid"] => "unknown_key",
            () => "bad_signature",
        }
    }

    /// The same under another type.
    fn retyped(&self, random: &mut Random) -> Vec<u8> {
        let text = String::from_utf8(self.seen.clone()).unwrap();
        let types = ["command.v1", "heartbeat.v1", "result.v2", "Result.v1", ".v1"];
        text.replacen("result.v1", random.pick::<&str>(&types), 1).into_bytes()
    }

    /// Exchanges one digit of a text of which `digits` at least are there for another one.
    fn flip(&self, body: &mut [u8], before: &str, digits: usize, random: &mut Random) {
        let start = body.windows(before.len()).position(|text| text == before.as_bytes()).unwrap() + before.len();
        let at = start + random.below(digits);
        body[at] = if body[at] == b'1' { b'2' } else { b'1' };
    }
}

/// The memory that this process holds, in kibibytes.
/// What this process has used of the processors so far.
fn processor_time() -> Duration {
    let used = getrusage(UsageWho::RUSAGE_SELF).unwrap();
    let micros = [used.user_time(), used.system_time()].map(|time| time.tv_sec() * 1_000_000 + time.tv_usec());
    Duration::from_micros(micros.iter().sum::<i64>().unsigned_abs())
}

fn resident_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
