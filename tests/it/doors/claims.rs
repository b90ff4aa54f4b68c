//! What a server claims is shown as its own word, but must never make a list unreadable.

use http::{Method, StatusCode};
use serde_json::{Value, json};
use shared::bus::{Address, Bus, LocalBus, Message};
use shared::clock::{Clock, Time};
use shared::contract::signed::{Command, Kind, ResultReport};
use shared::db::Lite;
use shared::rules::invocation::Ending;
use shared::sign::{Envelope, SigningKey, digest, stored_payload};

use crate::harness::{World, id, world};

#[tokio::test(flavor = "multi_thread")]
async fn times_that_no_calendar_has_can_be_read() {
    let key = SigningKey::generate().unwrap();
    let world = enrolled(&key).await;
    let task = world.send(json!({ "target_type": "node", "target": "eve", "command": "true" })).await;
    let evidence = world.get(&format!("/api/tasks/{}/evidence", id(&task))).await;
    let command: Command = stored_payload(&evidence["commands"][0]["command"].to_string()).unwrap();
    let world = deliver(world, vec![claim(&command, &key, i64::MAX, i64::MIN)]).await;
    let results = world.results(&task).await;
    assert_eq!(results[0]["timestamp"], "9999-12-31T23:59:59.999Z");
    assert_eq!(results[0]["started_at"], "0000-01-01T00:00:00.000Z");
    let page = world.get(&format!("/api/tasks/{}/results?limit=1", id(&task))).await;
    assert_eq!(page, Value::from(results));
    world.stop().await;
}

/// A plane on which `key` speaks for the server `eve`.
async fn enrolled(key: &SigningKey) -> World {
    let world = world(&[]).await;
    let body = json!({ "public_key_pem": key.public().to_pem().unwrap() });
    world.ask(Method::PUT, "/api/client-keys/eve", Some(&body)).await.json(StatusCode::OK);
    world.ask(Method::POST, "/api/servers", Some(&json!({ "hostname": "eve" }))).await.json(StatusCode::CREATED);
    world
}

fn claim(command: &Command, key: &SigningKey, finished_at: i64, started_at: i64) -> Vec<u8> {
    let report = ResultReport {
        iss: "eve".to_owned(),
        task_id: command.task_id.clone(),
        command_digest: digest(&serde_json::to_vec(command).unwrap()),
        status: Ending::Succeeded,
        reason: None,
        exit_code: i32::MIN,
        signal: Some(i32::MAX),
        stdout: "\0\u{1b}[2J".to_owned(),
        stderr: String::new(),
        stdout_bytes: u64::MAX,
        stderr_bytes: 0,
        truncated: false,
        started_at: Some(started_at),
        finished_at: Time(finished_at),
        boot_id: String::new(),
    };
    Envelope::sign(Kind::Result, serde_json::to_vec(&report).unwrap(), key).unwrap().to_json().into_bytes()
}

/// Puts reports into the queue of results, as an agent would, while the plane is down.
pub async fn deliver(world: World, bodies: Vec<Vec<u8>>) -> World {
    let folder = world.stop().await;
    let lite = Lite::open(&folder.settings.plane.data_dir.join("muster.db")).await.unwrap();
    let bus = Bus::Local(LocalBus::open(lite.clone(), Clock::System).await.unwrap());
    let address = Address::Report(Kind::Result, "eve".to_owned());
    let message = |body| Message { address: address.clone(), body, traceparent: None, ttl: None };
    for receipt in bus.publish(bodies.into_iter().map(message).collect()).await {
        receipt.unwrap();
    }
    lite.close().await;
    folder.start().await
}
