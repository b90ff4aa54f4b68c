//! A caller that asks too often is told when to come back, and is let in then.

use std::num::NonZeroU32;
use std::time::Duration;

use gateway::Limits;
use reqwest::StatusCode;

use crate::front::{Front, PATIENCE, patient, refusal};
use crate::stub::{OK, Stub};

#[tokio::test]
async fn who_asks_too_often_waits() {
    let stub = Stub::start(&[OK]).await;
    let front = Front::before(&stub.url, Limits { rate: NonZeroU32::new(1), ..patient() }).await;
    let mut answer = front.get("/api/tasks").await;
    for _ in 0..10 {
        answer = front.get("/api/tasks").await;
        if !answer.status().is_success() {
            break;
        }
    }
    let wait: u64 = answer.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    let (status, detail) = refusal(answer).await;
    assert!(status == 429 && detail.contains("ask again in") && (1..=2).contains(&wait), "{status} {detail} {wait}");
    let reached = stub.count();
    tokio::time::timeout(PATIENCE, async {
        while front.get("/api/tasks").await.status() != StatusCode::OK {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await
    .unwrap();
    assert_eq!(stub.count(), reached + 1, "what is refused does not reach a service");
}
