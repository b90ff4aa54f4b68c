//! From `POST /api/commands` to the stored, verified result of `true` on one embedded agent, beside
//! the sum of what its parts cost alone.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use shared::config::{self, Keep};
use shared::contract::signed::Kind;
use shared::db::{Db, Lite};
use shared::sign::{Envelope, SigningKey};
use solo::{Plane, Settings};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::sample::Sample;

/// Round trips that are measured, and those before that only warm up.
const ROUNDS: usize = 500;
const WARM_UP: usize = 50;
/// Waits for the disk on the way: the task, the journal twice, the report on the bus.
const COMMITS: u32 = 4;
/// The share of the shortest round trip so far after which the result is first looked for.
const EARLY: f64 = 0.95;
/// How long to wait between two looks.
const LOOK: Duration = Duration::from_micros(100);

pub fn settings(folder: &TempDir, agents: &[&str]) -> Settings {
    Settings {
        plane: config::Settings {
            listen: ([127, 0, 0, 1], 0).into(),
            data_dir: folder.path().join("data"),
            api_token: None,
        },
        agents: agents.iter().map(|name| (*name).to_owned()).collect(),
        policy: None,
        keep: Keep::default(),
    }
}

pub async fn measure() {
    let folder = tempfile::tempdir().unwrap();
    let plane = Plane::start(settings(&folder, &["bench"])).await.unwrap();
    let (address, file) = (plane.address(), folder.path().join("data/muster.db"));
    // On a thread of its own, whose waits and looks are no work for the plane's runtime.
    let client = std::thread::spawn(move || rounds(address, &file));
    let (accepted, stored) = tokio::task::spawn_blocking(|| client.join().unwrap()).await.unwrap();
    plane.stop().await;
    accepted.print("POST to its answer");
    stored.print("POST to the stored, verified result of `true`");
    let floor = floors(&folder).await;
    println!("  ratio to the sum of the floors: {:.2}", stored.median().as_secs_f64() / floor.as_secs_f64());
}

pub fn rounds(address: SocketAddr, file: &Path) -> (Sample, Sample) {
    let reader = Reader::open(file);
    let mut plane = TcpStream::connect(address).unwrap();
    plane.set_nodelay(true).unwrap();
    let (mut accepted, mut stored) = (Sample::default(), Sample::default());
    let mut earliest = Duration::MAX;
    for round in 0..WARM_UP + ROUNDS {
        let start = Instant::now();
        let task_id = post(&mut plane);
        let answered = start.elapsed();
        // No result was ever stored sooner; looking costs the one who is looked at.
        let pause = if round == 0 { Duration::ZERO } else { earliest.mul_f64(EARLY).saturating_sub(answered) };
        std::thread::sleep(pause);
        while !reader.sees(&task_id) {
            std::thread::sleep(LOOK);
        }
        let taken = start.elapsed();
        earliest = earliest.min(taken);
        if round >= WARM_UP {
            accepted.push(answered);
            stored.push(taken);
        }
    }
    (accepted, stored)
}

/// Sends the command over a connection that is kept, with a client that costs next to nothing.
fn post(plane: &mut TcpStream) -> String {
    let body = r#"{"target_type":"node","target":"bench","command":"true"}"#;
    let head = "POST /api/commands HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length:";
    plane.write_all(format!("{head} {}\r\n\r\n{body}", body.len()).as_bytes()).unwrap();
    let mut buffer = [0; 8 * 1024];
    let mut filled = 0;
    while !buffer[..filled].ends_with(b"}") {
        let read = plane.read(&mut buffer[filled..]).unwrap();
        assert!(read > 0, "the answer broke off");
        filled += read;
    }
    let answer = std::str::from_utf8(&buffer[..filled]).unwrap();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    let (_, json) = answer.split_once("\r\n\r\n").unwrap();
    serde_json::from_str::<Value>(json).unwrap()["task_id"].as_str().unwrap().to_owned()
}

/// Somebody else who reads the database, on its own connection.
struct Reader {
    runtime: Runtime,
    db: Db,
}

impl Reader {
    fn open(file: &Path) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let db = Db::Lite(runtime.block_on(Lite::open_small(file)).unwrap());
        Self { runtime, db }
    }

    fn sees(&self, task_id: &str) -> bool {
        let found: Option<(i32,)> = self.runtime.block_on(async {
            shared::read!(&self.db, c =>
                sqlx::query_as("select exit_code from results where task_id = ?").bind(task_id).fetch_optional(c).await)
            .unwrap()
        });
        found.is_some()
    }
}

async fn floors(folder: &TempDir) -> Duration {
    let key = SigningKey::generate().unwrap();
    let sign = Sample::of(200, || drop(Envelope::sign(Kind::Result, vec![b'x'; 500], &key).unwrap()));
    let commit = commits(folder).await;
    let spawn = spawns().await;
    sign.print("floor: one RSA signature, 3,072 bits");
    commit.print("floor: one commit to the disk");
    spawn.print("floor: spawn `sh -c true` and wait for it");
    let sum = sign.median() * 2 + commit.median() * COMMITS + spawn.median();
    println!("  sum: 2 signatures, {COMMITS} commits, 1 spawn: {:.3} ms", sum.as_secs_f64() * 1e3);
    sum
}

async fn commits(folder: &TempDir) -> Sample {
    let lite = Lite::open(&folder.path().join("floor.db")).await.unwrap();
    let mut tx = lite.begin();
    sqlx::query("create table t (body text)").execute(tx.connection().await.unwrap()).await.unwrap();
    tx.commit().await.unwrap();
    let mut sample = Sample::default();
    for _ in 0..300 {
        let start = Instant::now();
        let mut tx = lite.begin();
        sqlx::query("insert into t (body) values (?)")
            .bind("x".repeat(1_000))
            .execute(tx.connection().await.unwrap())
            .await
            .unwrap();
        tx.commit().await.unwrap();
        sample.push(start.elapsed());
    }
    sample
}

async fn spawns() -> Sample {
    let mut sample = Sample::default();
    for _ in 0..200 {
        let start = Instant::now();
        let status = tokio::process::Command::new("/bin/sh").args(["-c", "true"]).output().await.unwrap();
        assert!(status.status.success());
        sample.push(start.elapsed());
    }
    sample
}
