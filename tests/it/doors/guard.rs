//! Who may come in: with a token, whoever knows it; without one, whoever is on this machine and is no
//! page of somebody else's.

use http::{Method, StatusCode, header};
use reqwest::RequestBuilder;

use super::routes::{doors, path};
use crate::answer::Answer;
use crate::harness::{Folder, World, world};

const TOKEN: &str = "correct horse battery staple";

async fn guarded() -> World {
    let mut folder = Folder::new(&[]);
    folder.settings.plane.api_token = Some(TOKEN.to_owned());
    folder.start().await
}

fn knock(world: &World, method: &str, path: &str) -> RequestBuilder {
    world.request(method.parse().unwrap(), path)
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_token_every_door_but_health_is_closed() {
    let world = guarded().await;
    for (method, route) in doors() {
        let answer = Answer::to(knock(&world, method, &path(route))).await;
        if route == "/api/health" {
            answer.json(StatusCode::OK);
            continue;
        }
        answer.problem(StatusCode::UNAUTHORIZED);
        assert_eq!(answer.header(header::WWW_AUTHENTICATE), Some("Bearer"), "{method} {route}");
        let known = Answer::to(knock(&world, method, &path(route)).bearer_auth(TOKEN)).await;
        assert_ne!(known.status, StatusCode::UNAUTHORIZED, "{method} {route}");
    }
    world.stop().await;
}

/// Without the token one does not even learn what there is.
#[tokio::test(flavor = "multi_thread")]
async fn with_a_token_nothing_else_opens() {
    let world = guarded().await;
    for path in ["/", "/api", "/api/", "/api/nope", "/api/health/", "/api/Health", "/api/health/../servers", "/metrics"]
    {
        Answer::to(knock(&world, "GET", path)).await.problem(StatusCode::UNAUTHORIZED);
    }
    for credentials in [
        "".to_owned(),
        "Bearer".to_owned(),
        "Bearer ".to_owned(),
        format!("Bearer {TOKEN}x"),
        format!("Bearer {}", &TOKEN[1..]),
        format!("Bearer {}", TOKEN.to_uppercase()),
        format!("Basic {TOKEN}"),
        format!("Token {TOKEN}"),
        TOKEN.to_owned(),
    ] {
        let request = knock(&world, "GET", "/api/servers").header(header::AUTHORIZATION, &credentials);
        let detail = Answer::to(request).await.problem(StatusCode::UNAUTHORIZED);
        assert!(detail.contains("Authorization: Bearer"), "{credentials}: {detail}");
    }
    let elsewhere = knock(&world, "GET", &format!("/api/servers?token={}", TOKEN.replace(' ', "+")));
    Answer::to(elsewhere).await.problem(StatusCode::UNAUTHORIZED);
    world.stop().await;
}

/// A token is enough from anywhere: there the page that is asked from is a matter of its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_opens_under_any_name() {
    let world = guarded().await;
    for scheme in ["Bearer", "bearer", "BEARER"] {
        let request = knock(&world, "GET", "/api/servers").header(header::AUTHORIZATION, format!("{scheme} {TOKEN}"));
        Answer::to(request.header(header::HOST, "muster.example.org")).await.json(StatusCode::OK);
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_foreign_names_and_pages_stay_out() {
    let world = world(&[]).await;
    for (name, value) in [
        ("host", "evil.example"),
        ("host", "127.0.0.1.evil.example"),
        ("host", "localhost.evil.example:8080"),
        ("host", "192.168.1.1"),
        ("origin", "https://evil.example"),
        ("origin", "http://localhost.evil.example"),
        ("origin", "null"),
        ("origin", "file://"),
        ("sec-fetch-site", "cross-site"),
    ] {
        for (method, route) in doors() {
            let answer = Answer::to(knock(&world, method, &path(route)).header(name, value)).await;
            let detail = answer.problem(StatusCode::FORBIDDEN);
            assert!(detail.contains("token"), "{method} {route} {name}: {value}: {detail}");
        }
    }
    for (name, value) in [("host", "localhost:1"), ("host", "[::1]"), ("origin", "http://127.0.0.1:9")] {
        Answer::to(knock(&world, "GET", "/api/servers").header(name, value)).await.json(StatusCode::OK);
    }
    world.stop().await;
}

/// The name that a command is signed under is the guard's to give.
#[tokio::test(flavor = "multi_thread")]
async fn a_caller_cannot_name_itself() {
    let world = guarded().await;
    let command = serde_json::json!({ "target_type": "all", "command": "true" });
    let request = knock(&world, "POST", "/api/commands").bearer_auth(TOKEN).json(&command);
    let task = Answer::to(request.header("x-muster-caller", "root")).await.json(StatusCode::CREATED);
    let evidence = format!("/api/tasks/{}/evidence", crate::harness::id(&task));
    let evidence = Answer::to(world.request(Method::GET, &evidence).bearer_auth(TOKEN)).await.json(StatusCode::OK);
    let command: shared::contract::signed::Command =
        shared::sign::stored_payload(&evidence["commands"][0]["command"].to_string()).unwrap();
    assert_eq!(command.requested_by, "token");
    world.stop().await;
}
