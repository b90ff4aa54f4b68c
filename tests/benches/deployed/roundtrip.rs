//! From `POST /api/commands` to the stored, verified result of `true`, through all five programs.

use std::time::{Duration, Instant};

use shared::bus::rabbit::{Role, Settings};
use shared::bus::{Address, Bus};
use shared::contract::signed::Kind;
use shared::db::Db;
use tokio::runtime::Runtime;

use crate::floors;
use crate::http::Connection;
use crate::sample::Sample;
use crate::stack::Stack;

/// Round trips that are measured, and those before that only warm up.
const ROUNDS: usize = 300;
const WARM_UP: usize = 50;
/// The share of the shortest round trip so far after which the result is first looked for.
const EARLY: f64 = 0.95;
/// How long to wait between two looks.
const LOOK: Duration = Duration::from_micros(100);
/// Commits of the database on the way: the task, the lease, the marks of the relay, the result. The
/// agent's own are not to the database.
const COMMITS: u32 = 4;
const COMMAND: &str = r#"{"target_type":"node","target":"bench","command":"true"}"#;

pub async fn measure() {
    let stack = Stack::new(&["bench"]).await;
    let (url, db) = (stack.url(""), stack.database.pool());
    // On a thread of its own, with a runtime of its own.
    let (accepted, stored) = tokio::task::spawn_blocking(move || rounds(&url, &db)).await.unwrap();
    accepted.print("POST to its answer");
    stored.print("POST to the stored, verified result of `true`");
    let floor = floor(&stack).await;
    println!("  ratio to the sum of the floors: {:.2}", stored.median().as_secs_f64() / floor.as_secs_f64());
    stack.stop();
}

fn rounds(url: &str, db: &Db) -> (Sample, Sample) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (mut plane, mut earliest) = (Connection::open(url), Duration::MAX);
    let (mut accepted, mut stored) = (Sample::default(), Sample::default());
    for round in 0..WARM_UP + ROUNDS {
        let start = Instant::now();
        let task_id = plane.send(COMMAND);
        let answered = start.elapsed();
        // No result was ever stored sooner; looking costs the one who is looked at.
        let pause = if round == 0 { Duration::ZERO } else { earliest.mul_f64(EARLY).saturating_sub(answered) };
        std::thread::sleep(pause);
        while !is_stored(&runtime, db, &task_id) {
            std::thread::sleep(LOOK);
        }
        let taken = start.elapsed();
        earliest = earliest.min(taken);
        if round >= WARM_UP {
            accepted.push(answered);
            stored.push(taken);
        }
    }
    runtime.block_on(db.close());
    (accepted, stored)
}

fn is_stored(runtime: &Runtime, db: &Db, task_id: &str) -> bool {
    let found: Option<(i32,)> = runtime.block_on(async {
        shared::read!(db, c =>
            sqlx::query_as("select exit_code from results where task_id = ?").bind(task_id).fetch_optional(c).await)
        .unwrap()
    });
    found.is_some()
}

async fn floor(stack: &Stack) -> Duration {
    let db = stack.database.pool();
    floors::table(&db).await;
    let url = stack.vhost.plane_url();
    let bus = Bus::rabbit(&Settings { url, ca_file: None, role: Role::Plane, name: "floor".to_owned() }).unwrap();
    let (sign, commit, spawn) = (floors::signature(), floors::commit(&db).await, floors::spawn().await);
    let command = floors::publish(&bus, &Address::Agent(declared(&bus).await)).await;
    // Into the results' own queue, which is of the dearer kind; the ingestor, idle by now, refuses it.
    let report = floors::publish(&bus, &Address::Report(Kind::Result, "floor".to_owned())).await;
    sign.print("floor: one RSA signature, 3,072 bits");
    commit.print("floor: one commit of the database");
    command.print("floor: one command published and confirmed");
    report.print("floor: one result published and confirmed");
    spawn.print("floor: spawn `sh -c true` and wait for it");
    let sum = sign.median() * 2 + commit.median() * COMMITS + command.median() + report.median() + spawn.median();
    println!("  sum: 2 signatures, {COMMITS} commits, 2 messages, 1 spawn: {:.3} ms", sum.as_secs_f64() * 1e3);
    db.close().await;
    sum
}

/// A queue that nobody reads.
async fn declared(bus: &Bus) -> String {
    bus.declare("floor").await.unwrap();
    "floor".to_owned()
}
