//! Servers: made, shown, changed, deleted.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::times;
use crate::harness::{World, world};

#[tokio::test(flavor = "multi_thread")]
async fn a_server_from_its_making_to_its_end() {
    let world = world(&[]).await;
    let made = create(&world, json!({ "hostname": "Web-1.Example.org", "ip": "2001:DB8::1", "group": "前端" })).await;
    assert_eq!((&made["hostname"], &made["ip"]), (&json!("web-1.example.org"), &json!("2001:db8::1")));
    let path = "/api/servers/web-1.example.org";
    assert_eq!(world.get(path).await, made);
    assert_eq!(world.get("/api/servers/WEB-1.example.org").await, made);
    for (change, ip, group) in [
        (json!({ "group": "db" }), json!("2001:db8::1"), json!("db")),
        (json!({ "ip": "10.0.0.1" }), json!("10.0.0.1"), json!("db")),
        (json!({}), json!("10.0.0.1"), json!("db")),
        (json!({ "ip": null, "group": null }), json!(null), json!(null)),
    ] {
        let changed = world.ask(Method::PATCH, path, Some(&change)).await.json(StatusCode::OK);
        assert_eq!((&changed["ip"], &changed["group"]), (&ip, &group), "{change}");
        assert_eq!(world.get(path).await, changed);
    }
    let gone = world.ask(Method::DELETE, path, None).await;
    assert_eq!((gone.status, gone.text.as_str()), (StatusCode::NO_CONTENT, ""));
    assert_eq!(world.get("/api/servers").await, json!([]));
    for (method, body) in [(Method::GET, None), (Method::PATCH, Some(json!({}))), (Method::DELETE, None)] {
        world.ask(method, path, body.as_ref()).await.problem(StatusCode::NOT_FOUND);
    }
    create(&world, json!({ "hostname": "web-1.example.org" })).await;
    world.stop().await;
}

async fn create(world: &World, server: Value) -> Value {
    world.ask(Method::POST, "/api/servers", Some(&server)).await.json(StatusCode::CREATED)
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_are_listed_by_hostname() {
    let world = world(&[]).await;
    for name in ["web-10", "db-1", "web-9", "a.b", "a-b", "10.0.0.1"] {
        create(&world, json!({ "hostname": name })).await;
    }
    let servers = world.get("/api/servers").await;
    let names: Vec<_> = servers.as_array().unwrap().iter().map(|server| server["hostname"].as_str().unwrap()).collect();
    assert_eq!(names, ["10.0.0.1", "a-b", "a.b", "db-1", "web-10", "web-9"]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_online_with_its_agent_and_shows_its_load() {
    let world = world(&["web-1"]).await;
    let server = world.until("/api/servers/web-1", |server| server["status"] == "online").await;
    times::check(&server);
    for usage in ["cpu_usage", "memory_usage"] {
        let percent = server[usage].as_f64().unwrap();
        assert!((0.0..=100.0).contains(&percent), "{usage}: {percent}");
    }
    assert!(server["last_heartbeat"].is_string());
    world.stop().await;
}

/// Two callers that change different fields at the same time both get their way.
#[tokio::test(flavor = "multi_thread")]
async fn changes_of_different_fields_do_not_undo_each_other() {
    let world = world(&[]).await;
    create(&world, json!({ "hostname": "web-1" })).await;
    for round in 0..20 {
        let (ip, group) = (format!("10.0.0.{round}"), format!("group {round}"));
        let change = |body: Value| {
            let world = &world;
            async move { world.ask(Method::PATCH, "/api/servers/web-1", Some(&body)).await.json(StatusCode::OK) }
        };
        tokio::join!(change(json!({ "ip": ip })), change(json!({ "group": group })));
        let server = world.get("/api/servers/web-1").await;
        assert_eq!((server["ip"].as_str(), server["group"].as_str()), (Some(&*ip), Some(&*group)));
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_one_word() {
    let world = world(&[]).await;
    assert_eq!(world.ask(Method::GET, "/api/health", None).await.text, r#"{"status":"ok"}"#);
    world.stop().await;
}
