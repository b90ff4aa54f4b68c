//! What is stored, as the lists show it, to compare before and after.

use serde_json::{Value, json};

use crate::harness::{World, world};
use crate::keys::sound;

/// A plane without agents, where nothing changes by itself: a server, its key, and a task for it.
pub async fn quiet() -> World {
    let world = world(&[]).await;
    for (path, body) in [
        ("/api/servers", json!({ "hostname": "web-1", "ip": "10.0.0.1", "group": "web" })),
        ("/api/servers", json!({ "hostname": "web-2" })),
    ] {
        world.call(http::Method::POST, path, Some(body)).await;
    }
    let key = json!({ "public_key_pem": sound()[0] });
    world.call(http::Method::PUT, "/api/client-keys/web-1", Some(key)).await;
    world.send_all("true").await;
    world.until("/api/tasks", |tasks| tasks[0]["counts"] == json!({ "sent": 2 })).await;
    world
}

/// Everything that the API lists.
#[derive(Debug, PartialEq)]
pub struct Stored(Vec<Value>);

impl Stored {
    pub async fn of(world: &World) -> Self {
        let mut lists = Vec::new();
        for path in ["/api/servers", "/api/client-keys", "/api/tasks"] {
            lists.push(world.get(path).await);
        }
        Self(lists)
    }
}
