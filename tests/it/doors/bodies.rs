//! Bodies that are no JSON object, are not declared as one, or are too large.

use futures::StreamExt as _;
use http::{Method, StatusCode, header};
use reqwest::Body;
use serde_json::{Value, json};

use super::stored::{Stored, quiet};
use crate::answer::Answer;
use crate::harness::{World, world};

/// Every door that takes a body.
const TAKES_BODY: [(Method, &str); 4] = [
    (Method::POST, "/api/servers"),
    (Method::PATCH, "/api/servers/web-1"),
    (Method::PUT, "/api/client-keys/web-1"),
    (Method::POST, "/api/commands"),
];

const LIMIT: usize = 1024 * 1024;

async fn send(world: &World, method: &Method, path: &str, content_type: Option<&str>, body: impl Into<Body>) -> Answer {
    let request = world.request(method.clone(), path).body(body);
    Answer::to(match content_type {
        Some(content_type) => request.header(header::CONTENT_TYPE, content_type),
        None => request,
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_json_object_is_a_body() {
    let world = quiet().await;
    let before = Stored::of(&world).await;
    let command = r#"{"target_type":"all","command":"true"}"#;
    let bodies: [Vec<u8>; 16] = [
        b"".into(),
        b"hello".into(),
        b"{".into(),
        b"null".into(),
        b"1".into(),
        b"\"x\"".into(),
        b"[]".into(),
        format!("[{command}]").into(),
        format!("[{}]", r#""all",null,"true""#).into(),
        format!("{command}{command}").into(),
        format!("{command}x").into(),
        format!("\u{feff}{command}").into(),
        br#"{"command":"\ud800"}"#.into(),
        b"{\"command\":\"\xff\"}".into(),
        "[".repeat(100_000).into(),
        r#"{"command":"#.repeat(10_000).into(),
    ];
    for (method, path) in TAKES_BODY {
        for body in &bodies {
            let answer = send(&world, &method, path, Some("application/json"), body.clone()).await;
            let detail = answer.problem(StatusCode::BAD_REQUEST);
            assert!(detail.contains("JSON object"), "{method} {path} {}: {detail}", String::from_utf8_lossy(body));
        }
    }
    assert_eq!(Stored::of(&world).await, before);
    world.stop().await;
}

/// What a page of another origin may send without being asked is not taken for JSON.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_declared_as_json() {
    let world = quiet().await;
    let before = Stored::of(&world).await;
    let types = [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "text/json",
        "",
        "application/jsonp",
        "application/problem+json",
        "application/json/x",
    ];
    for (method, path) in TAKES_BODY {
        for content_type in types.into_iter().map(Some).chain([None]) {
            let answer = send(&world, &method, path, content_type, "{}").await;
            let detail = answer.problem(StatusCode::UNSUPPORTED_MEDIA_TYPE);
            assert!(detail.contains("application/json"), "{method} {path} {content_type:?}: {detail}");
        }
    }
    assert_eq!(Stored::of(&world).await, before);
    for content_type in ["application/json; charset=utf-8", "Application/JSON", " application/json ;x=y"] {
        let body = r#"{"target_type":"all","command":"true"}"#;
        send(&world, &Method::POST, "/api/commands", Some(content_type), body).await.json(StatusCode::CREATED);
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_over_the_limit_is_answered() {
    let world = quiet().await;
    let before = Stored::of(&world).await;
    for (method, path) in TAKES_BODY {
        for length in [LIMIT + 1, 3 * LIMIT, 7 * LIMIT] {
            for content_type in [Some("application/json"), None] {
                let answer = send(&world, &method, path, content_type, large(length)).await;
                let detail = answer.problem(StatusCode::PAYLOAD_TOO_LARGE);
                assert!(detail.contains("1048576"), "{method} {path}: {detail}");
            }
        }
        let chunks = futures::stream::iter(vec![vec![b' '; 64 * 1024]; 40]).map(Ok::<_, std::io::Error>);
        let answer = send(&world, &method, path, Some("application/json"), Body::wrap_stream(chunks)).await;
        answer.problem(StatusCode::PAYLOAD_TOO_LARGE);
    }
    assert_eq!(Stored::of(&world).await, before);
    let just = send(&world, &Method::POST, "/api/commands", Some("application/json"), large(LIMIT)).await;
    just.json(StatusCode::CREATED);
    world.stop().await;
}

/// A command with blanks around it, of this length in all.
fn large(length: usize) -> String {
    let command = r#"{"target_type":"all","command":"true"}"#;
    format!("{}{command}", " ".repeat(length - command.len()))
}

/// Whoever is refused for another reason learns that reason, however much they were about to send.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_body_does_not_hide_another_refusal() {
    let world = world(&[]).await;
    for _ in 0..20 {
        for (method, path, status) in [
            (Method::POST, "/api/nope", StatusCode::NOT_FOUND),
            (Method::PUT, "/api/commands", StatusCode::METHOD_NOT_ALLOWED),
            (Method::PUT, "/api/client-keys/a%20b", StatusCode::BAD_REQUEST),
        ] {
            send(&world, &method, path, Some("application/json"), large(4 * LIMIT)).await.problem(status);
        }
        let foreign = world.request(Method::POST, "/api/commands").header(header::HOST, "evil.example");
        Answer::to(foreign.body(large(4 * LIMIT))).await.problem(StatusCode::FORBIDDEN);
    }
    world.stop().await;
}

/// Reading takes no body, so whatever comes along is not looked at.
#[tokio::test(flavor = "multi_thread")]
async fn reading_does_not_mind_a_body() {
    let world = world(&[]).await;
    let answer = send(&world, &Method::GET, "/api/servers", None, "hello").await;
    assert_eq!(answer.json(StatusCode::OK), json!([]));
    let head = world.ask(Method::HEAD, "/api/servers", None::<&Value>).await;
    assert_eq!((head.status, head.text.as_str()), (StatusCode::OK, ""));
    world.stop().await;
}
