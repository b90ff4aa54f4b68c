//! A million finished tasks in the database: every list and lookup, the way of a command, and what the
//! chores cost that look for something to do. Each beside the same with a thousand tasks, since what
//! matters is that it stays the same.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use shared::bus::{Bus, LocalBus};
use shared::clock::{Clock, Time};
use shared::config::Keep;
use shared::db::{Db, Lite};
use shared::run::{Bell, Context};
use shared::sign::SigningKey;
use shared::store;
use solo::{Plane, Settings};
use sqlx::AssertSqlSafe;
use tasks::{Relay, Retention, Watchdog};
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::lists::{database, get};
use crate::roundtrip::{self, settings};
use crate::sample::Sample;
use crate::signing;

const FEW: i64 = 1_000;
const MANY: i64 = 1_000_000;
/// Tasks written by one statement.
const FILL_ROWS: i64 = 50_000;
/// How often each is asked for.
const ASKED: usize = 200;
/// The age of the oldest task; the others follow evenly.
const OLDEST: Duration = Duration::from_secs(80 * 24 * 3_600);
/// Tasks that are one too many each, for retention.
const EXCESS: i64 = 20_000;

pub async fn measure() {
    for count in [FEW, MANY] {
        println!("  with {count} tasks:");
        let folder = tempfile::tempdir().unwrap();
        let oldest = Clock::System.now().minus(OLDEST);
        fill(&folder, count, oldest).await;
        let plane = Plane::start(Settings { keep: Keep::new(0, 0, 0), ..settings(&folder, &["bench"]) }).await.unwrap();
        reads(plane.address(), count, oldest).await;
        round_trips(plane.address(), &folder).await;
        plane.stop().await;
        chores(&folder, count).await;
    }
}

/// The id of a task, the first being 1: it sorts by its number and by its time.
fn id(number: i64, count: i64, oldest: Time) -> String {
    let step = i64::try_from(OLDEST.as_millis()).unwrap() / count;
    format!("{:012x}7{number:019}", oldest.0 + number * step)
}

/// Fills the tables by SQL, so that it takes minutes and not hours.
async fn fill(folder: &TempDir, count: i64, oldest: Time) {
    let db = database(folder).await;
    let step = i64::try_from(OLDEST.as_millis()).unwrap() / count;
    let start = Instant::now();
    let result = signing::result(&SigningKey::generate().unwrap()).0;
    let command = "x".repeat(1_500);
    for first in (1..=count).step_by(usize::try_from(FILL_ROWS).unwrap()) {
        let last = (first + FILL_ROWS - 1).min(count);
        let numbers = format!(
            "with recursive n (i) as (select {first} union all select i + 1 from n where i < {last}),
             t (task_id, made) as (select printf('%012x7%019d', {0} + i * {step}, i), {0} + i * {step} from n) ",
            oldest.0
        );
        let mut tx = db.begin_soft().await.unwrap();
        for (insert, text) in [
            ("insert into tasks (task_id, target_type, target, command, timeout, created_at, expires_at, requested_by, trace_id,
                traceparent, idempotency_key, idempotency_digest, queued, succeeded)
              select task_id, 'node', 'bench', 'systemctl restart nginx', 30, made, made + 3600000, 'local', '0af7651916cd43dd8448eb211c80319c',
                '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01', task_id, substr(?, 1, 8), 0, 1 from t", &command),
            ("insert into waves (task_id, wave, expires_at, command_digest, keyid, envelope)
              select task_id, 1, made + 3600000, 'd', 'k', ? from t", &command),
            ("insert into invocations (task_id, hostname, status, proof, queued_at, sent_at, finished_at)
              select task_id, 'bench', 'succeeded', substr(?, 1, 8), made, made, made from t", &command),
            ("insert into results (task_id, hostname, exit_code, finished_at, received_at, output_at, digest, keyid, envelope)
              select task_id, 'bench', 0, made, made, made, task_id, 'k', ? from t", &result),
        ] {
            let insert = AssertSqlSafe(insert.replacen("select", &format!("{numbers} select"), 1));
            shared::on!(&mut tx, c => sqlx::query(insert).bind(text).execute(c).await.map(drop)).unwrap();
        }
        tx.commit().await.unwrap();
    }
    db.close().await;
    let bytes = std::fs::metadata(folder.path().join("data/muster.db")).unwrap().len();
    println!("  filled in {:.0} s, {:.2} GB", start.elapsed().as_secs_f64(), bytes as f64 / 1e9);
}

async fn reads(address: SocketAddr, count: i64, oldest: Time) {
    let mut connection = TcpStream::connect(address).await.unwrap();
    let page = |before: i64| {
        let cursor = URL_SAFE_NO_PAD.encode(format!("{:?}", id(before, count, oldest)));
        format!("/api/tasks?limit=100&cursor={cursor}")
    };
    let middle = format!("/api/tasks/{}", id(count / 2, count, oldest));
    for (what, path) in [
        ("GET /api/tasks?limit=100, the first page", "/api/tasks?limit=100".to_owned()),
        ("the same, a page in the middle", page(count / 2)),
        ("the same, the last page", page(101)),
        ("GET /api/tasks/{id}", middle.clone()),
        ("GET /api/tasks/{id}/invocations", format!("{middle}/invocations")),
        ("GET /api/tasks/{id}/results", format!("{middle}/results")),
    ] {
        let mut sample = Sample::default();
        for _ in 0..ASKED {
            let start = Instant::now();
            assert!(get(&mut connection, &path).await > 200);
            sample.push(start.elapsed());
        }
        sample.print(what);
    }
}

async fn round_trips(address: SocketAddr, folder: &TempDir) {
    let file = folder.path().join("data/muster.db");
    let client = std::thread::spawn(move || roundtrip::rounds(address, &file));
    let (accepted, stored) = tokio::task::spawn_blocking(|| client.join().unwrap()).await.unwrap();
    accepted.print("POST to its answer");
    stored.print("POST to the stored, verified result of `true`");
}

/// The chores' steps, taken by hand on the plane's database.
async fn chores(folder: &TempDir, count: i64) {
    let lite = Lite::open(&folder.path().join("data/muster.db")).await.unwrap();
    let bus = Bus::Local(LocalBus::open(lite.clone(), Clock::System).await.unwrap());
    let ctx = Context { db: Db::Lite(lite), bus, clock: Clock::System, bell: Bell::default() };
    let (relay, watchdog) = (Relay::new(ctx.clone()), Watchdog::new(ctx.clone()));
    let idle = Retention::new(ctx.clone(), Keep::new(90, 2_000_000, 90));
    let (mut relays, mut watchdogs, mut idles) = (Sample::default(), Sample::default(), Sample::default());
    for _ in 0..ASKED {
        timed(&mut relays, relay.step()).await;
        timed(&mut watchdogs, watchdog.step()).await;
        timed(&mut idles, idle.step()).await;
    }
    relays.print("relay, a step with nothing to do");
    watchdogs.print("watchdog, a step with nothing to do");
    idles.print("retention, a step with nothing to do");
    let excess = EXCESS.min(count / 2);
    removals(&ctx, u64::try_from(excess).unwrap()).await;
    ctx.db.close().await;
}

async fn timed(sample: &mut Sample, step: impl Future<Output = shared::error::Result<bool>>) {
    let start = Instant::now();
    step.await.unwrap();
    sample.push(start.elapsed());
}

/// Removes outputs, and then tasks, while somebody else writes all the time.
async fn removals(ctx: &Context, excess: u64) {
    let before = store::task::count(&ctx.db).await.unwrap();
    let output = OLDEST.mul_f64(1.0 - excess as f64 / before as f64).as_secs() / (24 * 3_600);
    for (what, keep) in [
        ("retention, a step that removes outputs", Keep::new(0, 0, output)),
        ("retention, a step that removes tasks", Keep::new(0, before - excess, 0)),
    ] {
        let retention = Retention::new(ctx.clone(), keep);
        let (mut steps, mut commits) = (Sample::default(), Sample::default());
        let start = Instant::now();
        let removing = async {
            loop {
                let begun = Instant::now();
                let more = retention.step().await.unwrap();
                steps.push(begun.elapsed());
                if !more {
                    break;
                }
            }
        };
        let writing = async {
            loop {
                let begun = Instant::now();
                ctx.db.ping().await.unwrap();
                commits.push(begun.elapsed());
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::select! { () = removing => (), () = writing => () }
        steps.print(what);
        commits.print("  meanwhile, somebody else's transaction");
        println!("  {:<52} {:.1} s", "  all of it", start.elapsed().as_secs_f64());
    }
    let left = store::task::count(&ctx.db).await.unwrap();
    assert_eq!((left, store::removal::oldest(&ctx.db, 1).await.unwrap()), (before - excess, Vec::new()));
    println!("  {:<52} {excess}", "  tasks removed");
}
