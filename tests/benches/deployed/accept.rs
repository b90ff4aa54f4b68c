//! Commands accepted a second, each signed and stored before its answer, while the relay moves them on.

use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::http::Connection;
use crate::sample::rate;
use crate::stack::Stack;
use crate::{cpu, floors};

/// Connections that are kept, each with one request at a time.
const CONNECTIONS: [usize; 2] = [8, 16];
/// How long is counted.
const COUNTED: Duration = Duration::from_secs(5);
const COMMAND: &str = r#"{"target_type":"node","target":"idle","command":"true"}"#;

pub async fn measure() {
    let stack = Stack::new(&[]).await;
    let (status, said) = stack.call(Method::POST, "/api/servers", Some(json!({ "hostname": "idle" }))).await;
    assert_eq!(status, StatusCode::CREATED, "{said}");
    for connections in CONNECTIONS {
        let (url, before) = (stack.url(""), cpu::of(&stack));
        let (count, taken) = tokio::task::spawn_blocking(move || load(&url, connections)).await.unwrap();
        println!(
            "  {:<52} {:.0} a second",
            format!("POST /api/commands, {connections} connections"),
            rate(count, taken)
        );
        for (name, seconds) in cpu::of(&stack) {
            let each = (seconds - before[&name]) / count as f64 * 1e3;
            println!("    {name:<50} {each:.3} ms of processor time each");
        }
    }
    let db = stack.database.pool();
    floors::table(&db).await;
    println!("  {:<52} {:.0} a second", "floor: RSA signatures, 3,072 bits, 2 cores", floors::signatures());
    println!("  {:<52} {:.0} a second", "floor: rows inserted, 200 a transaction", floors::rows(&db).await);
    db.close().await;
    stack.stop();
}

fn load(url: &str, connections: usize) -> (usize, Duration) {
    let start = Instant::now();
    let client = || {
        let (mut plane, mut count) = (Connection::open(url), 0);
        while start.elapsed() < COUNTED {
            plane.send(COMMAND);
            count += 1;
        }
        count
    };
    let count = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..connections).map(|_| scope.spawn(client)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    (count, start.elapsed())
}
