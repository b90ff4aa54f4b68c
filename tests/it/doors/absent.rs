//! What is not there, what is there already, and what a path does not take.

use http::{Method, StatusCode, header};
use serde_json::json;

use super::routes::{ROUTES, path};
use super::stored::{Stored, quiet};
use crate::harness::{id, world};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_not_found() {
    let world = quiet().await;
    let before = Stored::of(&world).await;
    let tasks = ["0", "abc123", "%00", "%2e%2e%2fservers", "ünï", &"0".repeat(32), &"A".repeat(32), &"a".repeat(9_000)];
    for task in tasks {
        for (method, rest) in [
            ("GET", ""),
            ("GET", "/results"),
            ("GET", "/invocations"),
            ("GET", "/evidence"),
            ("GET", "/conflicts"),
            ("POST", "/cancel"),
            ("POST", "/retry"),
        ] {
            let answer = world.ask(method.parse().unwrap(), &format!("/api/tasks/{task}{rest}"), None).await;
            assert!(answer.problem(StatusCode::NOT_FOUND).contains("task"));
        }
    }
    for (method, path) in [
        ("GET", "/api/servers/web-9"),
        ("DELETE", "/api/servers/web-9"),
        ("GET", "/api/client-keys/web-2"),
        ("DELETE", "/api/client-keys/web-2"),
    ] {
        let detail = world.ask(method.parse().unwrap(), path, None).await.problem(StatusCode::NOT_FOUND);
        assert!(detail.contains("`web-"), "{method} {path}: {detail}");
    }
    let patch = world.ask(Method::PATCH, "/api/servers/web-9", Some(&json!({ "group": "x" }))).await;
    patch.problem(StatusCode::NOT_FOUND);
    for letter in ["0", "%00", "ünï", &"0".repeat(32), &"A".repeat(32), &"a".repeat(9_000)] {
        for (method, rest) in [("GET", ""), ("DELETE", ""), ("POST", "/replay")] {
            let answer = world.ask(method.parse().unwrap(), &format!("/api/dead/{letter}{rest}"), None).await;
            assert!(answer.problem(StatusCode::NOT_FOUND).contains("letter"));
        }
    }
    assert_eq!(Stored::of(&world).await, before);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_for_nobody_is_not_found_and_not_stored() {
    let world = quiet().await;
    let before = Stored::of(&world).await;
    for (kind, target) in [("node", "web-9"), ("node", "web"), ("group", "web-1"), ("group", "Web"), ("group", "%")] {
        let command = json!({ "target_type": kind, "target": target, "command": "true" });
        let answer = world.ask(Method::POST, "/api/commands", Some(&command)).await;
        let detail = answer.problem(StatusCode::NOT_FOUND);
        assert!(detail.contains(&format!("`{target}`")), "{detail}");
    }
    assert_eq!(Stored::of(&world).await, before);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostname_is_taken_once() {
    let world = quiet().await;
    let before = Stored::of(&world).await;
    for name in ["web-1", "WEB-1"] {
        let server = json!({ "hostname": name, "ip": "10.9.9.9", "group": "other" });
        let detail = world.ask(Method::POST, "/api/servers", Some(&server)).await.problem(StatusCode::CONFLICT);
        assert!(detail.contains("`web-1`"), "{detail}");
    }
    assert_eq!(Stored::of(&world).await, before);
    let racers = (0..10).map(|_| world.call(Method::POST, "/api/servers", Some(json!({ "hostname": "web-3" }))));
    let mut statuses: Vec<_> = futures::future::join_all(racers).await.into_iter().map(|(status, _)| status).collect();
    statuses.sort();
    assert_eq!(
        (statuses[0], statuses[1], statuses[9]),
        (StatusCode::CREATED, StatusCode::CONFLICT, StatusCode::CONFLICT)
    );
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finished_task_is_not_cancelled() {
    let world = world(&[]).await;
    let task = world.send_all("true").await;
    let cancel = format!("/api/tasks/{}/cancel", id(&task));
    let detail = world.ask(Method::POST, &cancel, None).await.problem(StatusCode::CONFLICT);
    assert!(detail.contains("over"), "{detail}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_that_do_not_exist() {
    let world = world(&[]).await;
    for path in [
        "/",
        "/api",
        "/api/",
        "/api/nope",
        "/api//servers",
        "/api/servers/",
        "/api/servers/a/b",
        "/api/tasks/x/y",
        "/API/servers",
        "/api/%73ervers",
        "/servers",
        "/api/client-keys/a/b/c",
        "/readyz/..",
    ] {
        for method in [Method::GET, Method::POST, Method::OPTIONS] {
            world.ask(method, path, None).await.problem(StatusCode::NOT_FOUND);
        }
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_method_that_a_path_does_not_take_is_answered_with_those_that_it_takes() {
    let world = world(&[]).await;
    let methods = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"];
    for (route, taken) in ROUTES {
        let mut expected: Vec<_> = taken.iter().copied().chain(taken.contains(&"GET").then_some("HEAD")).collect();
        expected.sort_unstable();
        for method in methods.iter().filter(|method| !taken.contains(method)) {
            let answer = world.ask(method.parse().unwrap(), &path(route), None).await;
            answer.problem(StatusCode::METHOD_NOT_ALLOWED);
            let mut allow: Vec<_> = answer.header(header::ALLOW).unwrap().split(',').map(str::trim).collect();
            allow.sort_unstable();
            assert_eq!(allow, expected, "{method} {route}");
        }
    }
    world.stop().await;
}
