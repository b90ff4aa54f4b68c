//! `GET /api/health` tells what is down.

use std::time::{Duration, Instant};

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use gateway::Limits;
use serde_json::Value;

use crate::front::{Front, PATIENCE, SHORT, patient};
use crate::stub::{Answer, Stub, nowhere, service};

async fn health(front: &Front) -> (u16, String) {
    let answer = reqwest::get(format!("{}/api/health", front.url)).await.unwrap();
    let status = answer.status().as_u16();
    let body: Value = answer.json().await.unwrap();
    (status, body["detail"].as_str().unwrap_or_default().to_owned())
}

async fn ready(status: StatusCode, body: &'static str) -> (u16, String) {
    let (url, _stop) = service(Router::new().route("/readyz", get(async move || (status, body)))).await;
    health(&Front::before(&url, patient()).await).await
}

#[tokio::test]
async fn what_is_down_is_told_for_each_service() {
    assert_eq!(ready(StatusCode::OK, r#"{"database":"ok"}"#).await, (200, String::new()));
    let (status, detail) = ready(StatusCode::SERVICE_UNAVAILABLE, r#"{"broker":"ok","database":"away"}"#).await;
    let all = "not ready: inventory (database), tasks (database), result-ingestor (database)";
    assert_eq!((status, detail.as_str()), (503, all));
}

#[tokio::test]
async fn a_service_that_says_nothing_costs_no_patience() {
    let silent = Stub::start(&[Answer::Hold("")]).await;
    let (_held, nowhere) = nowhere();
    for url in [nowhere, silent.url.clone()] {
        let front = Front::before(&url, Limits { probe: SHORT, ..patient() }).await;
        let since = Instant::now();
        let (status, detail) = health(&front).await;
        assert!(status == 503 && detail.contains("tasks (does not answer)"), "{status} {detail}");
        assert!(since.elapsed() < PATIENCE - Duration::from_secs(1));
    }
}
