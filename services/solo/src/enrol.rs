//! Enrolling a local agent, through the gateway like anybody else: first its key, then the server.

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use http::{Method, StatusCode, header};
use serde_json::{Value, json};
use shared::error::{Error, Result};
use shared::sign::PublicKey;
use tower::ServiceExt as _;

/// Uploads the key of `hostname` and registers the server, unless it is registered.
pub async fn enrol(front: &Router, hostname: &str, key: &PublicKey) -> Result<()> {
    let body = json!({ "public_key_pem": key.to_pem()? });
    let status = call(front, Method::PUT, &format!("/api/client-keys/{hostname}"), &body).await?;
    expect(status, &[StatusCode::OK], hostname)?;
    let body = json!({ "hostname": hostname, "ip": "127.0.0.1", "group": "local" });
    let status = call(front, Method::POST, "/api/servers", &body).await?;
    expect(status, &[StatusCode::CREATED, StatusCode::CONFLICT], hostname)
}

async fn call(front: &Router, method: Method, path: &str, body: &Value) -> Result<StatusCode> {
    let request = Request::builder().method(method).uri(path).header(header::CONTENT_TYPE, "application/json");
    let request = request.body(Body::from(body.to_string())).map_err(Error::internal)?;
    let response = front.clone().oneshot(request).await.unwrap_or_else(|never| match never {});
    Ok(response.status())
}

fn expect(status: StatusCode, expected: &[StatusCode], hostname: &str) -> Result<()> {
    if expected.contains(&status) {
        return Ok(());
    }
    Err(Error::unavailable(format!(
        "the local agent `{hostname}` could not be enrolled (status {status}); see the log"
    )))
}
