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
const WARM_UP: usize = 300;
/// When the result is first looked for, as each round tells the next one: so much sooner if it was there by
/// then, so much later if it was not. So it is there in a quarter of the rounds, which count as a little
/// longer than they were; the median and what is above it do not change. Looking sooner would disturb
/// those who are looked at: on two cores each look takes from them what it costs.
const SOONER: Duration = Duration::from_micros(90);
const LATER: Duration = Duration::from_micros(30);
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
    let (mut plane, mut first_look) = (Connection::open(url), Duration::ZERO);
    let (mut accepted, mut stored) = (Sample::default(), Sample::default());
    for round in 0..WARM_UP + ROUNDS {
        let start = Instant::now();
        let task_id = plane.send(COMMAND);
        let answered = start.elapsed();
        std::thread::sleep(first_look.saturating_sub(answered));
        let is_there = is_stored(&runtime, db, &task_id);
        first_look = if is_there { first_look.saturating_sub(SOONER) } else { first_look + LATER };
        while !is_there && !is_stored(&runtime, db, &task_id) {
            std::thread::sleep(LOOK);
        }
        let taken = start.elapsed();
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
