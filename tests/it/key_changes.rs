//! Two changes of a server's keys at the same moment, by two processes: as if one had come after the
//! other, and never two keys in use, nor a revoked one in use again.
//!
//! The database itself refuses a second key in use. Where one had come about before it did, the
//! migration keeps one.

use std::pin::pin;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{Method, StatusCode};
use serde_json::json;
use shared::db::{Db, Tx};
use shared::rules::limits::KEY_RETIRES_AFTER;
use shared::run::Bell;
use shared::sign::{KeyState, PublicKey};
use shared::{on, read, store};
use tokio::time::timeout;
use tower::ServiceExt as _;

use crate::keys::sound;
use crate::steps::{Parts, START, over_both};

/// How long the second change is left to itself before the first one is committed.
const ALONE: Duration = Duration::from_millis(500);

/// Two keys.
fn pair() -> [PublicKey; 2] {
    let mut keys = sound().into_iter().map(|pem| PublicKey::from_pem(&pem).unwrap());
    [keys.next().unwrap(), keys.next().unwrap()]
}

/// Uploads a key, or revokes what there is, as the API does it.
async fn change(parts: &Parts, key: Option<&PublicKey>) -> StatusCode {
    let service = inventory::service(parts.ctx.db.clone(), parts.ctx.clock.clone(), Bell::default());
    let method = if key.is_some() { Method::PUT } else { Method::DELETE };
    let request =
        Request::builder().method(method).uri("/api/client-keys/b").header("content-type", "application/json");
    let body = key.map(|key| json!({ "public_key_pem": key.to_pem().unwrap() }).to_string());
    let request = request.body(body.map_or_else(Body::empty, Body::from)).unwrap();
    service.routes.oneshot(request).await.unwrap().status()
}

/// Commits the first change while the second one is under way: done, or waiting for the first.
async fn beside(first: Tx, second: impl Future<Output = StatusCode>) {
    let mut second = pin!(second);
    let early = timeout(ALONE, &mut second).await;
    first.commit().await.unwrap();
    let status = match early {
        Ok(status) => status,
        Err(_) => second.await,
    };
    assert!(status.is_success(), "{status}");
}

async fn state(db: &Db, key: &PublicKey) -> KeyState {
    store::key::by_id(db, &[key.keyid()]).await.unwrap()[0].trusted().unwrap().state
}

async fn of_two_new_keys_one_is_in_use(parts: Parts) {
    let (db, [one, other]) = (&parts.ctx.db, pair());
    let mut first = db.begin().await.unwrap();
    store::key::put(&mut first, "b", &one, None, START).await.unwrap();
    beside(first, change(&parts, Some(&other))).await;
    assert_eq!(state(db, &one).await, KeyState::RetiringUntil(START.plus(KEY_RETIRES_AFTER)));
    assert_eq!(state(db, &other).await, KeyState::Active);
}
over_both!(of_two_new_keys_one_is_in_use);

async fn a_key_that_is_revoked_while_it_is_replaced_stays_revoked(parts: Parts) {
    let (db, [old, new]) = (&parts.ctx.db, pair());
    assert_eq!(change(&parts, Some(&old)).await, StatusCode::OK);
    let mut first = db.begin().await.unwrap();
    assert!(store::key::revoke(&mut first, "b", START).await.unwrap());
    beside(first, change(&parts, Some(&new))).await;
    assert_eq!(state(db, &old).await, KeyState::Revoked);
    assert_eq!(state(db, &new).await, KeyState::Active);
}
over_both!(a_key_that_is_revoked_while_it_is_replaced_stays_revoked);

async fn what_replaces_a_key_while_all_are_revoked_is_revoked_too(parts: Parts) {
    let (db, [old, new]) = (&parts.ctx.db, pair());
    assert_eq!(change(&parts, Some(&old)).await, StatusCode::OK);
    let mut first = db.begin().await.unwrap();
    store::key::put(&mut first, "b", &new, None, START).await.unwrap();
    beside(first, change(&parts, None)).await;
    assert_eq!([state(db, &old).await, state(db, &new).await], [KeyState::Revoked; 2]);
}
over_both!(what_replaces_a_key_while_all_are_revoked_is_revoked_too);

const ONE_ACTIVE: &str = include_str!("../../migrations/0046_client_keys_one_active.sql");
const BY_ACTIVE_HOSTNAME: &str = include_str!("../../migrations/0048_client_keys_by_active_hostname.sql");

async fn run(db: &Db, statement: &'static str) {
    let mut tx = db.begin().await.unwrap();
    on!(&mut tx, c => sqlx::query(statement).execute(c).await.map(drop)).unwrap();
    tx.commit().await.unwrap();
}

async fn of_two_keys_in_use_from_before_one_is_kept(parts: Parts) {
    let db = &parts.ctx.db;
    let unguarded = match db {
        Db::Lite(_) => "drop index client_keys_by_active_hostname",
        Db::My(_) => "drop index client_keys_by_active_hostname on client_keys",
    };
    run(db, unguarded).await;
    run(
        db,
        "insert into client_keys (keyid, hostname, algorithm, public_key_pem, state, created_at, updated_at) values
            ('k1', 'b', 'PS256', '', 'active', 0, 0), ('k2', 'b', 'PS256', '', 'active', 0, 0),
            ('k3', 'c', 'PS256', '', 'active', 0, 0), ('k4', 'c', 'PS256', '', 'revoked', 0, 0)",
    )
    .await;
    run(db, ONE_ACTIVE).await;
    run(db, BY_ACTIVE_HOSTNAME).await; // which there can be now
    let states: Vec<(String, String)> = read!(db, c => sqlx::query_as(
        "select keyid, state from client_keys where keyid in ('k1', 'k2', 'k3', 'k4') order by keyid")
        .fetch_all(c).await)
    .unwrap();
    let states: Vec<_> = states.iter().map(|(keyid, state)| (keyid.as_str(), state.as_str())).collect();
    assert_eq!(states, [("k1", "retiring"), ("k2", "active"), ("k3", "active"), ("k4", "revoked")]);
}
over_both!(of_two_keys_in_use_from_before_one_is_kept);
