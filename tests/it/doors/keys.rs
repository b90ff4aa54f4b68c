//! Public keys that are none, are too weak, are private, or are somebody else's.

use http::{Method, StatusCode};
use serde_json::{Value, json};
use shared::sign::SigningKey;

use super::stored::{Stored, quiet};
use crate::harness::World;
use crate::keys::{SPKI, refused, sound};

async fn refuse(world: &World, path: &str, body: &Value) -> String {
    let before = Stored::of(world).await;
    let detail = world.ask(Method::PUT, path, Some(body)).await.problem(StatusCode::BAD_REQUEST);
    assert_eq!(Stored::of(world).await, before, "{body}");
    detail
}

/// Truncated, elliptic, Ed25519, too short, too long, odd in any way.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_sound_key_is_refused_and_not_repeated() {
    let world = quiet().await;
    let half = SPKI[..SPKI.len() / 2].to_owned();
    for (name, pem) in refused().into_iter().chain([("half".to_owned(), half)]) {
        for path in ["/api/client-keys/web-1", "/api/client-keys/web-2"] {
            let detail = refuse(&world, path, &json!({ "public_key_pem": pem })).await;
            assert!(detail.starts_with("`public_key_pem` must be"), "{name}: {detail}");
            let repeated = pem.lines().any(|line| line.len() > 20 && !line.contains("--") && detail.contains(line));
            assert!(!repeated, "{name}: {detail}");
        }
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_key_is_recognised_and_not_repeated() {
    let world = quiet().await;
    let pem = SigningKey::generate().unwrap().to_pem().unwrap();
    let detail = refuse(&world, "/api/client-keys/web-2", &json!({ "public_key_pem": pem })).await;
    assert!(detail.contains("private key"), "{detail}");
    assert!(pem.lines().filter(|line| !line.contains("--")).all(|line| !detail.contains(line)), "{detail}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_of_a_key() {
    let world = quiet().await;
    let pem = &sound()[1];
    for (body, field) in [
        (json!({}), "`public_key_pem`"),
        (json!({ "public_key_pem": null }), "`public_key_pem`"),
        (json!({ "public_key_pem": 5 }), "`public_key_pem`"),
        (json!({ "public_key_pem": [pem] }), "`public_key_pem`"),
        (json!({ "public_key_pem": format!("{pem}\0") }), "`public_key_pem`"),
        (json!({ "public_key_pem": pem, "algorithm": "HS256" }), "`PS256` or `RS256`"),
        (json!({ "public_key_pem": pem, "algorithm": "none" }), "`algorithm`"),
        (json!({ "public_key_pem": pem, "algorithm": 256 }), "`algorithm`"),
        (json!({ "public_key_pem": pem, "hostname": "web-1" }), "`hostname`"),
    ] {
        let detail = refuse(&world, "/api/client-keys/web-2", &body).await;
        assert!(detail.contains(field), "{detail}");
    }
    world.stop().await;
}

/// Nobody gets a key that another host has or had, for then one could speak for the other.
#[tokio::test(flavor = "multi_thread")]
async fn another_servers_key_is_refused_whatever_became_of_it() {
    let world = quiet().await;
    let keys = sound();
    let taken = json!({ "public_key_pem": keys[0] });
    let check = async || {
        let detail = refuse(&world, "/api/client-keys/web-2", &taken).await;
        assert!(detail.contains("another server"), "{detail}");
    };
    check().await;
    let next = json!({ "public_key_pem": keys[1] });
    world.ask(Method::PUT, "/api/client-keys/web-1", Some(&next)).await.json(StatusCode::OK);
    check().await;
    world.ask(Method::DELETE, "/api/client-keys/web-1", None).await;
    check().await;
    world.ask(Method::DELETE, "/api/servers/web-1", None).await;
    check().await;
    world.stop().await;
}
