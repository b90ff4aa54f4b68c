//! Fields that hold what they must not: refused by name, with what is allowed, and nothing is stored.
//! And what is just allowed is taken.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::stored::{Stored, quiet};
use crate::harness::{World, world};

/// A field, what the refusal must say besides its name, and values that it must not have.
type Case = (&'static str, &'static [&'static str], Vec<Value>);

/// Asks with each bad value in `good`'s place; a field without a value is left out.
async fn refuse(world: &World, method: Method, path: &str, good: &Value, cases: Vec<Case>) {
    let before = Stored::of(world).await;
    for (field, says, bad) in cases {
        for value in bad {
            let mut body = good.clone();
            body[field] = value;
            let answer = world.ask(method.clone(), path, Some(&body)).await;
            let detail = answer.problem(StatusCode::BAD_REQUEST);
            for words in [&format!("`{field}`")].into_iter().map(String::as_str).chain(says.iter().copied()) {
                assert!(detail.contains(words), "{method} {path} {}: {detail}", shown(&body));
            }
            assert_eq!(Stored::of(world).await, before, "{method} {path} {}", shown(&body));
        }
    }
}

fn shown(body: &Value) -> String {
    body.to_string().chars().take(300).collect()
}

/// What no text field takes.
fn no_text() -> Vec<Value> {
    vec![json!(5), json!(true), json!(["x"]), json!({}), json!("a\0b"), json!("\0")]
}

fn texts(more: &[&str]) -> Vec<Value> {
    no_text().into_iter().chain(more.iter().map(|text| json!(text))).collect()
}

/// What no field for seconds takes.
fn no_seconds() -> Vec<Value> {
    let big = [json!(u64::MAX), json!(i64::MIN), json!(1e30), json!(30.0), json!(1.5)];
    let others = [json!(0), json!(-1), json!(86_401), json!("30"), json!(""), json!(true), json!([30]), json!({})];
    big.into_iter().chain(others).collect()
}

/// What is neither a count nor a percentage.
fn no_limits() -> Vec<Value> {
    let texts = ["", "%", "101%", "-1", "1.5", "1000001", "5 %", "five", "a\0b"].map(|text| json!(text));
    let others = [json!(-1), json!(1.5), json!(1_000_001), json!(u64::MAX), json!(true), json!([5]), json!({})];
    texts.into_iter().chain(others).collect()
}

fn with_null(mut values: Vec<Value>) -> Vec<Value> {
    values.push(Value::Null);
    values
}

#[tokio::test(flavor = "multi_thread")]
async fn commands() {
    let world = quiet().await;
    let long = "x".repeat(65_537);
    let seconds: &[_] = &["from 1 to 86400"];
    let name = "x".repeat(65);
    let node = json!({ "target_type": "node", "target": "web-1", "command": "true" });
    refuse(
        &world,
        Method::POST,
        "/api/commands",
        &node,
        vec![
            ("target_type", &[], no_text()),
            ("target_type", &["`node`", "`group`", "`all`"], vec![json!(null), json!(""), json!("host"), json!("ALL")]),
            ("target", &[], with_null(no_text())),
            (
                "target",
                &["hostname"],
                vec![json!(""), json!(" "), json!("web 1"), json!("web-1."), json!("a".repeat(300))],
            ),
            ("command", &[], with_null(no_text())),
            ("command", &["empty"], vec![json!(""), json!(" \n\t")]),
            ("command", &["65536"], vec![json!(long), json!("ä".repeat(32_769))]),
            ("timeout", seconds, no_seconds()),
            ("expires_in", seconds, no_seconds()),
            ("max_concurrency", &[], no_limits()),
            ("max_concurrency", &["at least one"], vec![json!(0), json!("0"), json!("0%")]),
            ("max_errors", &["count", "percentage"], no_limits()),
            ("rollout_expires_in", &["from 1 to 2592000"], vec![json!(0), json!(2_592_001), json!("60"), json!(1.5)]),
            ("rollout_expires_in", &["`max_concurrency`", "`max_errors`"], vec![json!(60)]),
            ("user", &[], texts(&["", "a b", "a:b", "../x", "a\nb", &name])),
            ("timout", &["`timeout`", "`expires_in`"], vec![json!(5), json!(null)]),
            ("task_id", &["allowed"], vec![json!("0")]),
        ],
    )
    .await;
    let group = json!({ "target_type": "group", "target": "web", "command": "true" });
    let bad = with_null(texts(&["", " ", " web", "web\n", "we\u{7}b", &name]));
    refuse(&world, Method::POST, "/api/commands", &group, vec![("target", &[], bad)]).await;
    let all = json!({ "target_type": "all", "command": "true" });
    refuse(&world, Method::POST, "/api/commands", &all, vec![("target", &[], texts(&["web-1", ""]))]).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_without_what_they_need() {
    let world = quiet().await;
    let before = Stored::of(&world).await;
    let whole = json!({ "target_type": "node", "target": "web-1", "command": "true" });
    for field in ["target_type", "target", "command"] {
        let mut body = whole.clone();
        body.as_object_mut().unwrap().remove(field);
        let detail = world.ask(Method::POST, "/api/commands", Some(&body)).await.problem(StatusCode::BAD_REQUEST);
        assert!(detail.contains(&format!("`{field}`")), "{detail}");
    }
    assert_eq!(Stored::of(&world).await, before);
    world.stop().await;
}

fn no_hostnames() -> Vec<Value> {
    let long = ["a"; 128].join(".");
    let texts = texts(&["", ".", "a b", "a_b", "-a", "a-", "a..b", "ünï", "a/b", "*", "#", "a\n", &long]);
    texts.into_iter().chain([json!("a".repeat(300)), json!("a".repeat(64))]).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn servers() {
    let world = quiet().await;
    let name = "x".repeat(65);
    let address: &[_] = &["IPv4 or IPv6"];
    let addresses = ["", "300.1.1.1", "1.2.3", "web-1", "10.0.0.0/8", "1.2.3.4:80", " 1.2.3.4", "::g", "fe80::1%eth0"];
    let ips = || addresses.iter().map(|text| json!(text)).collect();
    let groups = || texts(&["", " ", "web ", "a\nb", "\u{1b}[31m", &name]);
    let good = json!({ "hostname": "web-3" });
    refuse(
        &world,
        Method::POST,
        "/api/servers",
        &good,
        vec![
            ("hostname", &[], with_null(no_hostnames())),
            ("ip", &[], no_text()),
            ("ip", address, ips()),
            ("group", &[], groups()),
            ("status", &["`hostname`", "`ip`", "`group`"], vec![json!("online")]),
        ],
    )
    .await;
    refuse(
        &world,
        Method::PATCH,
        "/api/servers/web-1",
        &json!({}),
        vec![
            ("ip", &[], no_text()),
            ("ip", address, ips()),
            ("group", &[], groups()),
            ("hostname", &["`ip`", "`group`"], vec![json!("web-3")]),
        ],
    )
    .await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_and_queries() {
    let world = quiet().await;
    let before = Stored::of(&world).await;
    let bad = |path: String, field: &'static str| {
        let world = &world;
        async move {
            let detail = world.ask(Method::GET, &path, None).await.problem(StatusCode::BAD_REQUEST);
            assert!(detail.contains(field), "{path}: {detail}");
        }
    };
    for resource in ["servers", "client-keys"] {
        for name in ["a%20b", "a%00", "%ff", "-a", "a%2Fb", &"a".repeat(300)] {
            bad(format!("/api/{resource}/{name}"), if name == "%ff" { "UTF-8" } else { "`hostname`" }).await;
        }
    }
    let task = crate::harness::id(&world.get("/api/tasks").await[0]).to_owned();
    let lists =
        ["servers", "client-keys", "tasks", &format!("tasks/{task}/results"), &format!("tasks/{task}/invocations")];
    for list in lists {
        for limit in ["0", "-1", "1001", "x", "", "1.5", "1e2", "99999999999999999999", "%00", "1%00"] {
            bad(format!("/api/{list}?limit={limit}"), "`limit`").await;
        }
        for cursor in ["", "!", "x", "AAAA", "bnVsbA", "%00", "e30", "W10"] {
            bad(format!("/api/{list}?cursor={cursor}"), "`cursor`").await;
        }
    }
    assert_eq!(Stored::of(&world).await, before);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_just_allowed_is_taken() {
    let world = world(&[]).await;
    let hostname = format!("{}.{}.{}.{}", "a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(61));
    assert_eq!(hostname.len(), 253);
    let group = "组".repeat(64);
    for server in [json!({ "hostname": hostname, "ip": "::1", "group": group }), json!({ "hostname": "0" })] {
        world.ask(Method::POST, "/api/servers", Some(&server)).await.json(StatusCode::CREATED);
    }
    for command in [
        json!({ "target_type": "node", "target": hostname, "command": "x".repeat(65_536) }),
        json!({ "target_type": "group", "target": group, "command": "\u{1}".repeat(65_536) }),
        json!({ "target_type": "all", "command": "true", "timeout": 1, "expires_in": 86_400 }),
        json!({ "target_type": "all", "command": "true", "timeout": 86_400, "expires_in": 1, "user": "x".repeat(64) }),
        json!({ "target_type": "all", "target": null, "command": "\u{feff}😀\r\n", "timeout": null, "user": null }),
    ] {
        world.ask(Method::POST, "/api/commands", Some(&command)).await.json(StatusCode::CREATED);
    }
    for limit in ["1", "1000"] {
        world.get(&format!("/api/tasks?limit={limit}")).await;
    }
    world.stop().await;
}
