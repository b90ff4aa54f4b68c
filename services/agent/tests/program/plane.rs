//! A control plane as far as enrolling needs one, which remembers what it was told.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use serde_json::{Value, json};
use shared::contract::key::PlaneKey;
use shared::sign::{PublicKey, SigningKey};
use tokio::net::TcpListener;

/// What callers must send.
pub const TOKEN: &str = "0123456789abcdef";

/// The plane. Its server ends with the test's runtime.
#[derive(Clone, Default)]
pub struct Plane(Arc<Mutex<Memory>>);

#[derive(Default)]
struct Memory {
    address: Option<SocketAddr>,
    keys: Vec<PlaneKey>,
    /// Hostname and PEM of each upload.
    uploads: Vec<(String, String)>,
    servers: Vec<Value>,
}

impl Plane {
    /// Starts one that signs with one key.
    pub async fn start() -> Self {
        let plane = Self::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        plane.0.lock().unwrap().address = Some(listener.local_addr().unwrap());
        plane.change_keys();
        let routes = Router::new()
            .route("/api/signing-keys", get(keys))
            .route("/api/client-keys/{hostname}", put(upload).get(uploaded))
            .route("/api/health", get(async || "ok"))
            .route("/api/servers", post(register))
            .with_state(plane.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        plane
    }

    /// Signs with another key from now on; returns its id.
    pub fn change_keys(&self) -> String {
        let key = SigningKey::generate().unwrap();
        let keyid = key.keyid().to_owned();
        let public_key_pem = key.public().to_pem().unwrap();
        self.0.lock().unwrap().keys =
            vec![PlaneKey { keyid: keyid.clone(), algorithm: key.algorithm(), public_key_pem }];
        keyid
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.0.lock().unwrap().address.unwrap())
    }

    pub fn keyid(&self) -> String {
        self.0.lock().unwrap().keys[0].keyid.clone()
    }

    pub fn uploads(&self) -> Vec<(String, String)> {
        self.0.lock().unwrap().uploads.clone()
    }

    pub fn servers(&self) -> Vec<Value> {
        self.0.lock().unwrap().servers.clone()
    }
}

type Answer = (StatusCode, Json<Value>);

/// With a control character, as an impostor may send one.
fn admit(headers: &HeaderMap) -> Result<(), Answer> {
    let is_known = headers.get("authorization").is_some_and(|value| value == format!("Bearer {TOKEN}").as_str());
    let refused = || (StatusCode::UNAUTHORIZED, Json(json!({ "detail": "no such token\u{1b}[2J" })));
    is_known.then_some(()).ok_or_else(refused)
}

async fn keys(State(plane): State<Plane>, headers: HeaderMap) -> Result<Json<Vec<PlaneKey>>, Answer> {
    admit(&headers)?;
    Ok(Json(plane.0.lock().unwrap().keys.clone()))
}

async fn upload(
    State(plane): State<Plane>,
    Path(hostname): Path<String>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Result<Json<Value>, Answer> {
    admit(&headers)?;
    let pem = body["public_key_pem"].as_str().unwrap().to_owned();
    plane.0.lock().unwrap().uploads.push((hostname, pem));
    Ok(Json(json!({})))
}

async fn uploaded(
    State(plane): State<Plane>,
    Path(hostname): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Value>, Answer> {
    admit(&headers)?;
    let uploads = plane.uploads();
    let found = uploads.iter().rev().find(|(name, _)| *name == hostname);
    let (_, pem) = found.ok_or_else(|| (StatusCode::NOT_FOUND, Json(json!({ "detail": "no key" }))))?;
    let keyid = PublicKey::from_pem(pem).unwrap().keyid().to_owned();
    let time = "2026-01-01T00:00:00.000Z";
    Ok(Json(json!({ "hostname": hostname, "public_key_pem": pem, "created_at": time, "updated_at": time,
        "keyid": keyid, "algorithm": "PS256" })))
}

async fn register(State(plane): State<Plane>, headers: HeaderMap, Json(body): Json<Value>) -> Result<Answer, Answer> {
    admit(&headers)?;
    let servers = &mut plane.0.lock().unwrap().servers;
    if servers.iter().any(|server| server["hostname"] == body["hostname"]) {
        return Ok((StatusCode::CONFLICT, Json(json!({ "detail": "it is registered" }))));
    }
    servers.push(body.clone());
    Ok((StatusCode::CREATED, Json(body)))
}
