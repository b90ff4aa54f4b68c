//! A service that is away, late, or speaks nonsense: the caller learns which one it is.

use std::sync::Arc;

use futures::future::join_all;
use gateway::Limits;
use reqwest::Method;
use shared::http::layers::REQUESTS_MAX;

use crate::front::{Front, PATIENCE, SHORT, patient, refusal};
use crate::stub::{Answer, Stub, nowhere};

#[tokio::test]
async fn a_service_that_is_away_is_named() {
    let (_held, nowhere) = nowhere();
    let front = Front::before(&nowhere, patient()).await;
    for (method, path, name) in [
        (Method::GET, "/api/servers", "inventory"),
        (Method::PUT, "/api/client-keys/web-1", "inventory"),
        (Method::GET, "/api/tasks", "tasks"),
        (Method::POST, "/api/commands", "tasks"),
    ] {
        let (status, detail) = refusal(front.request(method, path).body("{}").send().await.unwrap()).await;
        assert_eq!((status, detail), (503, format!("the {name} service cannot be reached; try again shortly")));
    }
}

#[tokio::test]
async fn a_service_that_is_late_is_named() {
    let stub = Stub::start(&[Answer::Hold("")]).await;
    let front = Front::before(&stub.url, Limits { head: SHORT, ..patient() }).await;
    let (status, detail) = refusal(front.get("/api/tasks").await).await;
    assert_eq!((status, detail.as_str()), (504, "the tasks service did not answer in time; try again shortly"));
    let posted = front.request(Method::POST, "/api/commands").body("{}").send().await.unwrap();
    let (status, detail) = refusal(posted).await;
    assert!(status == 504 && detail.contains("look whether it was done"), "{status} {detail}");
    until_asked(&stub, 2).await;
    assert_eq!(stub.count(), 2, "what was late is not tried again");
}

#[tokio::test]
async fn an_answer_that_is_none_is_told_from_a_service_that_is_away() {
    for answers in [&[Answer::Say("")], &[Answer::Say("SSH-2.0-OpenSSH_9.2\r\n")], &[Answer::Say("HTTP/1.1 20")]] {
        let stub = Stub::start(answers).await;
        let front = Front::before(&stub.url, patient()).await;
        let (status, detail) = refusal(front.get("/api/servers").await).await;
        assert_eq!((status, detail.as_str()), (502, "the inventory service broke off its answer; try again shortly"));
    }
}

/// Waits until the service has read so many requests.
async fn until_asked(stub: &Stub, count: usize) {
    let asked = async {
        while stub.count() < count {
            tokio::time::sleep(SHORT / 10).await;
        }
    };
    tokio::time::timeout(PATIENCE * 6, asked).await.unwrap();
}

/// When a service hangs, its callers are refused at some point rather than piled up.
#[tokio::test]
async fn more_than_can_be_served_is_refused_at_once() {
    let stub = Stub::start(&[Answer::Hold("")]).await;
    let front = Arc::new(Front::before(&stub.url, patient()).await);
    let waiting: Vec<_> = (0..REQUESTS_MAX)
        .map(|_| {
            let front = Arc::clone(&front);
            tokio::spawn(async move { front.get("/api/tasks").await.status() })
        })
        .collect();
    until_asked(&stub, REQUESTS_MAX).await;
    let (status, detail) = refusal(front.get("/api/tasks").await).await;
    assert!(status == 503 && detail.contains("too many requests at once"), "{status} {detail}");
    waiting.iter().for_each(tokio::task::JoinHandle::abort);
    let ended = join_all(waiting).await;
    assert!(ended.into_iter().all(|one| one.is_err()), "they were still waiting");
}
