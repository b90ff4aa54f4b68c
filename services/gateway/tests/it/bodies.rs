//! Bodies stream both ways, and one that breaks off never looks like a whole one.

use std::convert::Infallible;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use futures::{StreamExt as _, stream};
use gateway::Limits;
use reqwest::{Method, Response};

use crate::front::{Front, SHORT, patient};
use crate::stub::{Answer, Stub, service};

/// A chunk of a large body.
static CHUNK: [u8; 64 * 1024] = [b'x'; 64 * 1024];
/// How many there are: 128 MiB.
const CHUNKS: usize = 2_048;
/// What a large body may cost, with all that other tests do in this process meanwhile.
const GROWTH_KIB_MAX: usize = 96 * 1024;

fn large() -> impl futures::Stream<Item = Result<&'static [u8], Infallible>> {
    stream::repeat_with(|| Ok(&CHUNK[..])).take(CHUNKS)
}

#[tokio::test]
async fn a_body_that_breaks_off_is_seen_to() {
    for answers in [
        &[Answer::Say("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n[1,")],
        &[Answer::Say("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\n[1,\r\n")],
    ] {
        let stub = Stub::start(answers).await;
        let answer = Front::before(&stub.url, patient()).await.get("/api/tasks").await;
        assert_eq!(answer.status(), 200);
        assert!(answer.bytes().await.is_err());
    }
}

#[tokio::test]
async fn a_body_that_falls_silent_is_given_up() {
    let stub = Stub::start(&[Answer::Hold("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n[1,")]).await;
    let answer = Front::before(&stub.url, Limits { idle: SHORT, ..patient() }).await.get("/api/tasks").await;
    assert_eq!(answer.status(), 200);
    assert!(answer.bytes().await.is_err());
}

/// A list may take longer than its head may, as long as something comes.
#[tokio::test]
async fn a_long_body_is_not_cut() {
    let slowly = |n| async move {
        tokio::time::sleep(SHORT / 3).await;
        (n < 12).then_some((Ok::<_, Infallible>("x"), n + 1))
    };
    let router = Router::new().fallback(async move || Body::from_stream(stream::unfold(0, slowly)));
    let (url, _stop) = service(router).await;
    let front = Front::before(&url, Limits { head: SHORT * 3, ..patient() }).await;
    assert_eq!(front.get("/api/tasks").await.text().await.unwrap(), "xxxxxxxxxxxx");
}

#[tokio::test]
async fn large_bodies_pass_in_little_memory() {
    let counted = async |request: Request| count(request.into_body().into_data_stream()).await.to_string();
    let router =
        Router::new().route("/api/tasks", axum::routing::get(async || Body::from_stream(large())).post(counted));
    let (url, _stop) = service(router).await;
    let front = Front::before(&url, patient()).await;
    let before = resident_kib();
    let body = reqwest::Body::wrap_stream(large());
    let sent = front.request(Method::POST, "/api/tasks").body(body).send().await.unwrap();
    assert_eq!(sent.text().await.unwrap(), (CHUNKS * CHUNK.len()).to_string());
    let answer: Response = front.get("/api/tasks").await;
    assert_eq!(count(answer.bytes_stream()).await, CHUNKS * CHUNK.len());
    let growth = resident_kib().saturating_sub(before);
    assert!(growth < GROWTH_KIB_MAX, "{growth} KiB");
}

async fn count<E: std::fmt::Debug>(chunks: impl futures::Stream<Item = Result<impl AsRef<[u8]>, E>>) -> usize {
    chunks.fold(0, async |sum, chunk| sum + chunk.unwrap().as_ref().len()).await
}

/// The most memory that this process has had at one time.
fn resident_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
