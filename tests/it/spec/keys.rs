//! Client keys: uploaded, replaced, given back, revoked; and the plane's own.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::times;
use crate::answer::Answer;
use crate::harness::{World, world};
use crate::keys::{PKCS1, SPKI, sound};

const PATH: &str = "/api/client-keys/server1";

async fn put(world: &World, path: &str, body: Value) -> Answer {
    world.ask(Method::PUT, path, Some(&body)).await
}

async fn put_key(world: &World, pem: &str) -> Value {
    put(world, PATH, json!({ "public_key_pem": pem })).await.json(StatusCode::OK)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_put_replaced_given_back_and_revoked() {
    let world = world(&[]).await;
    let keys = sound();
    let first = put_key(&world, &keys[1]).await;
    times::check(&first);
    assert_eq!(first["hostname"], "server1");
    assert_eq!(first["public_key_pem"], keys[1].trim());
    assert_eq!(first["created_at"], first["updated_at"]);
    assert_eq!(put_key(&world, &keys[1]).await, first, "the same key again changes nothing");

    let second = put_key(&world, &keys[2]).await;
    assert_eq!(second["created_at"], first["created_at"]);
    assert!(second["updated_at"].as_str() >= first["updated_at"].as_str());
    assert_ne!(second["keyid"], first["keyid"]);
    let third = put_key(&world, &keys[1]).await;
    for field in ["public_key_pem", "keyid", "created_at"] {
        assert_eq!(third[field], first[field], "a retired key may come back");
    }
    assert_eq!(world.get(PATH).await, third);
    assert_eq!(world.get("/api/client-keys").await, json!([third]));

    let revoked = world.ask(Method::DELETE, PATH, None).await;
    assert_eq!((revoked.status, revoked.text.as_str()), (StatusCode::NO_CONTENT, ""));
    for method in [Method::GET, Method::DELETE] {
        world.ask(method, PATH, None).await.problem(StatusCode::NOT_FOUND);
    }
    assert_eq!(world.get("/api/client-keys").await, json!([]));
    for spent in &keys[1..=2] {
        let refused = put(&world, PATH, json!({ "public_key_pem": spent })).await.problem(StatusCode::BAD_REQUEST);
        assert!(refused.contains("revoked"), "{refused}");
    }
    put_key(&world, &keys[3]).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_forms_of_a_key_are_one_key_shown_in_one_form() {
    let world = world(&[]).await;
    let key = put_key(&world, PKCS1).await;
    assert_eq!(key["public_key_pem"], SPKI.trim());
    assert_eq!(put_key(&world, SPKI).await, key);
    assert_eq!(put_key(&world, &SPKI.replace('\n', "\r\n")).await, key);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_has_an_algorithm_and_need_have_no_server() {
    let world = world(&[]).await;
    let keys = sound();
    let ps256 = put_key(&world, &keys[0]).await;
    assert_eq!((&ps256["algorithm"], world.get("/api/servers").await), (&json!("PS256"), json!([])));
    let body = json!({ "public_key_pem": keys[1], "algorithm": "RS256" });
    let rs256 = put(&world, PATH, body).await.json(StatusCode::OK);
    assert_eq!(rs256["algorithm"], "RS256");
    assert_eq!(put_key(&world, &keys[1]).await, rs256, "the same key again changes nothing");
    let body = json!({ "public_key_pem": keys[1], "algorithm": "PS256" });
    let refused = put(&world, PATH, body).await.json(StatusCode::BAD_REQUEST);
    assert!(refused["detail"].as_str().unwrap().contains("`algorithm`"), "what it signed must stay verifiable");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_listed_by_hostname() {
    let world = world(&[]).await;
    for (name, pem) in ["Web-2", "db-1", "web-10"].iter().zip(sound()) {
        put(&world, &format!("/api/client-keys/{name}"), json!({ "public_key_pem": pem })).await.json(StatusCode::OK);
    }
    let keys = world.get("/api/client-keys").await;
    let names: Vec<_> = keys.as_array().unwrap().iter().map(|key| key["hostname"].as_str().unwrap()).collect();
    assert_eq!(names, ["db-1", "web-10", "web-2"]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_planes_own_key_is_public_and_stays() {
    let world = world(&[]).await;
    let keys = world.get("/api/signing-keys").await;
    assert_eq!(keys.as_array().unwrap().len(), 1);
    assert_eq!(keys[0]["algorithm"], "PS256");
    assert!(keys[0]["keyid"].as_str().unwrap().starts_with("sha256:"));
    assert!(keys[0]["public_key_pem"].as_str().unwrap().starts_with("-----BEGIN PUBLIC KEY-----"));
    let world = world.stop().await.start().await;
    assert_eq!(world.get("/api/signing-keys").await, keys);
    world.stop().await;
}
