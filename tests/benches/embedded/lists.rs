//! Lists: how often, how fast, and how much memory.

use std::time::{Duration, Instant};

use shared::clock::{Clock, Time};
use shared::contract::server::NewServer;
use shared::contract::task::TargetType;
use shared::db::{Db, Lite};
use shared::id;
use shared::store;
use shared::store::task::NewTask;
use solo::Plane;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::roundtrip::settings;
use crate::sample::{Sample, rate};

/// Connections that ask at one time.
const CLIENTS: usize = 8;
/// How long they ask.
const ASKING: Duration = Duration::from_secs(5);

pub async fn servers() {
    let folder = tempfile::tempdir().unwrap();
    let db = database(&folder).await;
    let mut tx = db.begin().await.unwrap();
    for n in 0..1_000 {
        let server =
            NewServer { hostname: format!("host-{n:04}"), ip: Some("192.0.2.7".into()), group: Some("web".into()) };
        store::server::insert(&mut tx, &server, Time(0)).await.unwrap();
    }
    tx.commit().await.unwrap();
    db.close().await;
    let plane = Plane::start(settings(&folder, &[])).await.unwrap();
    let start = Instant::now();
    let clients = (0..CLIENTS).map(|_| tokio::spawn(ask(plane.address(), start)));
    let answers: usize = futures::future::join_all(clients).await.into_iter().map(Result::unwrap).sum();
    println!("  {:<52} {:.0} a second", "GET /api/servers, 1,000 rows, 8 clients", rate(answers, start.elapsed()));
    plane.stop().await;
}

async fn ask(address: std::net::SocketAddr, start: Instant) -> usize {
    let mut connection = TcpStream::connect(address).await.unwrap();
    let mut answers = 0;
    while start.elapsed() < ASKING {
        assert!(get(&mut connection, "/api/servers").await > 100_000);
        answers += 1;
    }
    answers
}

pub async fn tasks() {
    let folder = tempfile::tempdir().unwrap();
    fill(&folder, 10_000).await;
    let plane = Plane::start(settings(&folder, &[])).await.unwrap();
    let mut connection = TcpStream::connect(plane.address()).await.unwrap();
    let mut sample = Sample::default();
    for _ in 0..30 {
        let start = Instant::now();
        assert!(get(&mut connection, "/api/tasks").await > 2_000_000);
        sample.push(start.elapsed());
    }
    sample.print("GET /api/tasks, 10,000 rows, last byte");
    plane.stop().await;
}

pub async fn stream() {
    let folder = tempfile::tempdir().unwrap();
    fill(&folder, 200_000).await;
    let plane = Plane::start(settings(&folder, &[])).await.unwrap();
    let mut connection = TcpStream::connect(plane.address()).await.unwrap();
    get(&mut connection, "/api/health").await;
    let before = resident_kib("VmRSS:");
    let (start, bytes) = (Instant::now(), get(&mut connection, "/api/tasks").await);
    let peak = resident_kib("VmHWM:");
    println!(
        "  {:<52} {} MB in {:.1} s, memory {:.1} MB before, at most {:.1} MB",
        "GET /api/tasks, 200,000 rows",
        bytes / 1_000_000,
        start.elapsed().as_secs_f64(),
        before as f64 / 1024.0,
        peak as f64 / 1024.0
    );
    plane.stop().await;
}

/// A line of `/proc/self/status`, in KiB.
fn resident_kib(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

pub async fn database(folder: &TempDir) -> Db {
    let data = folder.path().join("data");
    std::fs::create_dir_all(&data).unwrap();
    let db = Db::Lite(Lite::open(&data.join("muster.db")).await.unwrap());
    db.migrate().await.unwrap();
    db
}

async fn fill(folder: &TempDir, count: usize) {
    let db = database(folder).await;
    let now = Clock::System.now(); // nothing of it is too old to be kept
    let mut tx = db.begin().await.unwrap();
    for _ in 0..count {
        let task = NewTask {
            task_id: &id::sortable(now),
            target_type: TargetType::All,
            target: None,
            command: "systemctl restart nginx",
            timeout: 30,
            user: Some("root"),
            created_at: now,
            expires_at: Time(1_700_003_600_000),
            requested_by: "local",
            trace_id: "0af7651916cd43dd8448eb211c80319c",
            traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            limits: None,
            retry_of: None,
            idempotency: None,
            targets: 0,
        };
        store::task::insert(&mut tx, &task).await.unwrap();
    }
    tx.commit().await.unwrap();
    db.close().await;
}

/// Asks over HTTP/1.1 and reads to the last byte, with a client that costs next to nothing.
pub async fn get(connection: &mut TcpStream, path: &str) -> usize {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut buffer = vec![0; 256 * 1024];
    let mut kept = Vec::new();
    let head = loop {
        let read = connection.read(&mut buffer).await.unwrap();
        kept.extend_from_slice(&buffer[..read]);
        if let Some(place) = kept.windows(4).position(|four| four == b"\r\n\r\n") {
            break place + 4;
        }
    };
    let text = String::from_utf8_lossy(&kept[..head]).to_lowercase();
    assert!(text.starts_with("http/1.1 200"), "{text}");
    let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
    let mut seen = kept.len() - head;
    let mut tail = kept.split_off(kept.len().saturating_sub(5).max(head));
    let over = |seen: usize, tail: &[u8]| length.map_or(tail.ends_with(b"0\r\n\r\n"), |length| seen >= length);
    while !over(seen, &tail) {
        let read = connection.read(&mut buffer).await.unwrap();
        assert!(read > 0, "the answer broke off");
        seen += read;
        tail.extend_from_slice(&buffer[read.saturating_sub(5)..read]);
        tail.drain(..tail.len().saturating_sub(5));
    }
    seen
}
