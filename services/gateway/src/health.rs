//! `GET /api/health`: whether every part of the plane can do its work.

use std::time::Duration;

use axum::Json;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use futures::future::join_all;
use http::StatusCode;
use shared::contract::task::Health;
use shared::run::Readiness;
use shared::run::probe::OK;
use tokio::time::timeout;

use crate::{Gateway, Upstream};

/// More than any service says of itself, in bytes.
const READINESS_BYTES_MAX: usize = 16 * 1024;
/// What is said of a service that says nothing of itself.
const SILENT: &str = "does not answer";

pub async fn show(State(Gateway { upstreams, probe }): State<Gateway>) -> Response {
    let services =
        [("inventory", &upstreams.inventory), ("tasks", &upstreams.tasks), ("result-ingestor", &upstreams.ingestor)];
    let troubles = join_all(services.map(|(name, upstream)| trouble(name, upstream, probe))).await;
    let down: Vec<_> = troubles.into_iter().flatten().collect();
    if down.is_empty() {
        return Json(Health { status: "ok".to_owned(), detail: None }).into_response();
    }
    let detail = Some(format!("not ready: {}", down.join(", ")));
    (StatusCode::SERVICE_UNAVAILABLE, Json(Health { status: "unavailable".to_owned(), detail })).into_response()
}

/// What is wrong with a service, if anything is.
async fn trouble(name: &str, upstream: &Upstream, limit: Duration) -> Option<String> {
    let Some((is_ready, readiness)) = timeout(limit, ask(upstream)).await.ok().flatten() else {
        return Some(format!("{name} ({SILENT})"));
    };
    let away: Vec<_> = readiness.iter().filter(|(_, state)| *state != OK).map(|(part, _)| part.as_str()).collect();
    match (is_ready, away.is_empty()) {
        (true, true) => None,
        (false, true) => Some(name.to_owned()),
        (_, false) => Some(format!("{name} ({})", away.join(", "))),
    }
}

/// Whether a service is ready, and how its parts are; nothing when it does not say.
async fn ask(upstream: &Upstream) -> Option<(bool, Readiness)> {
    let mut probe = Request::new(Body::empty());
    *probe.uri_mut() = http::Uri::from_static("/readyz");
    let answer = upstream.call(probe).await.ok()?;
    let is_ready = answer.status().is_success();
    let body = to_bytes(answer.into_body(), READINESS_BYTES_MAX).await.ok()?;
    Some((is_ready, serde_json::from_slice(&body).ok()?))
}
