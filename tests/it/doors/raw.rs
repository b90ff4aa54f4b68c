//! What no library would send, written byte by byte.

use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::stored::{Stored, quiet};
use crate::answer::sentence;
use crate::harness::{World, world};

/// Sends bytes and reads everything that comes back until the connection closes.
async fn exchange(world: &World, request: &str) -> String {
    let mut stream = TcpStream::connect(world.plane.address()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// Sends the head of a request whose answer must be an error of this status.
async fn refused(world: &World, head: &str, status: &str) {
    let answer = exchange(world, &format!("{head}Connection: close\r\n\r\n")).await;
    assert_eq!(answer.split(' ').nth(1), Some(status), "{head:?}: {answer}");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("\r\ncontent-type: application/json\r\n"), "{head}");
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
    sentence(&headers, body.as_bytes()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_requests_get_plain_answers() {
    let world = world(&[]).await;
    for (head, status) in [
        ("GET /api/servers HTTP/1.1\r\n", "403"),
        ("GET /api/servers HTTP/1.0\r\n", "403"),
        ("GET /api/servers HTTP/1.1\r\nHost: evil.example\r\nHost: localhost\r\n", "403"),
        ("GET /api/servers HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n", "403"),
        ("GET /api/servers HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\nOrigin: null\r\n", "403"),
        ("OPTIONS * HTTP/1.1\r\nHost: localhost\r\n", "404"),
        ("CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n", "404"),
        ("GET /api/tasks/\u{fc} HTTP/1.1\r\nHost: localhost\r\n", "404"),
    ] {
        refused(&world, head, status).await;
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_breaks_off_changes_nothing() {
    let world = quiet().await;
    let before = Stored::of(&world).await;
    let head = "POST /api/servers HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
    let body = r#"{"hostname":"web-3"}"#;
    for rest in [
        format!("Content-Length: 100\r\n\r\n{body}"),
        format!("Transfer-Encoding: chunked\r\n\r\n14\r\n{body}\r\n"),
        format!("Transfer-Encoding: chunked\r\n\r\nxyz\r\n{body}\r\n"),
    ] {
        let mut stream = TcpStream::connect(world.plane.address()).await.unwrap();
        stream.write_all(format!("{head}{rest}").as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        stream.read_to_end(&mut Vec::new()).await.ok(); // an answer or none, but the end of it
        assert_eq!(Stored::of(&world).await, before, "{rest}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_sent_in_one_breath_are_answered_in_order() {
    let world = world(&[]).await;
    let body = r#"{"hostname":"web-1"}"#;
    let post =
        format!("Host: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let request = format!(
        "POST /api/servers HTTP/1.1\r\n{post}POST /api/nope HTTP/1.1\r\n{post}\
         GET /api/health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    );
    let answers = exchange(&world, &request).await;
    let statuses: Vec<_> = answers.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect();
    assert_eq!(statuses, ["201", "404", "200"], "{answers}");
    world.stop().await;
}
