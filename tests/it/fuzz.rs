//! Requests that nobody would send on purpose, thousands of them over a few connections that are kept
//! open. Whatever comes: no answer of ours is a failure of ours, no connection is dropped, every
//! refusal has the one form, and afterwards the plane works as before.
//!
//! The same seed sends the same requests; `MUSTER_FUZZ_SEED` and `MUSTER_FUZZ_REQUESTS` send others.

pub mod random;
mod shot;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::{HeaderMap, Method, StatusCode, header};
use serde_json::{Value, json};

use crate::answer::sentence;
use crate::dead;
use crate::doors::routes::doors;
use crate::harness::{Folder, World, id, world};
use random::Random;
use shot::{HOSTS, Ids, Shot};
use wire::Wire;

const SEED: u64 = 20_241_101;
const REQUESTS: u64 = 12_000;
const CONNECTIONS: u64 = 4;
/// The name of the threads that the plane runs on here, by which its panics are told from others.
const THREADS: &str = "fuzzed plane";

static PANICS: AtomicUsize = AtomicUsize::new(0);

#[test]
fn whatever_is_sent_is_answered() {
    count_panics();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).thread_name(THREADS).enable_all().build();
    runtime.unwrap().block_on(async { tokio::spawn(fuzz()).await.unwrap() });
    assert_eq!(PANICS.load(Ordering::SeqCst), 0, "something panicked out of sight");
}

fn count_panics() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if std::thread::current().name() == Some(THREADS) {
            PANICS.fetch_add(1, Ordering::SeqCst);
        }
        report(info);
    }));
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

async fn fuzz() {
    let (seed, requests) = (setting("MUSTER_FUZZ_SEED", SEED), setting("MUSTER_FUZZ_REQUESTS", REQUESTS));
    println!("seed {seed}, {requests} requests");
    let (folder, failed) = failed().await;
    let world = folder.start().await;
    let mut tasks = prepare(&world).await;
    tasks.push(failed);
    let (world, letters) = dead::letters(world).await;
    let (world, ids) = (Arc::new(world), Ids { tasks, letters });
    let gunners = (0..CONNECTIONS).map(|number| {
        let gunner = Gunner { seed: seed + number, ids: ids.clone(), seen: Seen::default() };
        tokio::spawn(gunner.fire(Arc::clone(&world), requests / CONNECTIONS))
    });
    let mut seen = Seen::default();
    for gunner in gunners.collect::<Vec<_>>() {
        seen.add(gunner.await.unwrap());
    }
    println!("{:?}", seen.statuses);
    if requests >= REQUESTS {
        seen.is_varied();
    }
    still_works(Arc::into_inner(world).unwrap()).await;
}

/// A task that failed on an agent that is gone since: one that can be retried.
async fn failed() -> (Folder, String) {
    let world = world(&["gone"]).await;
    let task = world.send_all("false").await;
    assert_eq!(world.results(&task).await[0]["status"], "failed");
    let mut folder = world.stop().await;
    folder.settings.agents.clear();
    (folder, id(&task).to_owned())
}

/// Servers without agents, so that nothing that is made up is ever run, and some tasks for them.
async fn prepare(world: &World) -> Vec<String> {
    for hostname in HOSTS {
        world.call(Method::POST, "/api/servers", Some(json!({ "hostname": hostname }))).await;
    }
    let mut tasks = Vec::new();
    for _ in 0..4 {
        tasks.push(id(&world.send_all("true").await).to_owned());
    }
    tasks
}

/// Sends over one connection, one request after another.
struct Gunner {
    seed: u64,
    ids: Ids,
    seen: Seen,
}

impl Gunner {
    async fn fire(mut self, world: Arc<World>, requests: u64) -> Seen {
        let mut random = Random::new(self.seed);
        let mut wire = Wire::open(world.plane.address()).await;
        for number in 0..requests {
            let shot = Shot::new(&mut random, &self.ids);
            let verdict = match wire.send(shot.request()).await {
                Ok((status, headers, body)) => self.seen.judge(&shot, status, &headers, &body),
                Err(dropped) => Err(dropped),
            };
            verdict.unwrap_or_else(|why| panic!("{why}\nseed {}, request {number}: {shot:?}", self.seed));
        }
        self.seen
    }
}

/// What was answered.
#[derive(Default)]
struct Seen {
    statuses: BTreeMap<u16, usize>,
    /// The doors behind which something was found or done.
    passed: BTreeSet<(&'static str, &'static str)>,
}

impl Seen {
    fn judge(&mut self, shot: &Shot, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Result<(), String> {
        *self.statuses.entry(status.as_u16()).or_default() += 1;
        let text = || format!("{status} {}", String::from_utf8_lossy(body));
        let is_json = headers.get(header::CONTENT_TYPE).is_some_and(|value| value == "application/json");
        let bare = shot.method == Method::HEAD || status == StatusCode::NO_CONTENT;
        let sound = match status {
            _ if bare && !status.is_server_error() => body.is_empty(),
            _ if status.is_client_error() => return sentence(headers, body).map(drop),
            _ if status.is_success() => is_json && serde_json::from_slice::<Value>(body).is_ok(),
            _ => false,
        };
        self.passed.extend(shot.aim.filter(|_| status.is_success()));
        sound.then_some(()).ok_or_else(text)
    }

    fn add(&mut self, other: Self) {
        for (status, count) in other.statuses {
            *self.statuses.entry(status).or_default() += count;
        }
        self.passed.extend(other.passed);
    }

    /// Requests that all end at the first check would prove little.
    fn is_varied(&self) {
        for status in [200, 201, 202, 204, 400, 403, 404, 405, 409, 413, 415] {
            assert!(self.statuses.contains_key(&status), "no {status} among {:?}", self.statuses);
        }
        let closed: Vec<_> = doors().filter(|door| !self.passed.contains(door)).collect();
        assert!(closed.is_empty(), "nothing was found behind {closed:?}");
    }
}

/// The plane answers, starts again with what it has stored, and runs a command.
async fn still_works(world: World) {
    assert_eq!(world.get("/api/health").await, json!({ "status": "ok" }));
    let mut folder = world.stop().await;
    folder.settings.agents.push("alive".to_owned());
    let world = folder.start().await;
    let task = world.send(json!({ "target_type": "node", "target": "alive", "command": "echo still here" })).await;
    let results = world.results(&task).await;
    assert_eq!((&results[0]["exit_code"], &results[0]["stdout"]), (&json!(0), &json!("still here\n")));
    world.stop().await;
}
