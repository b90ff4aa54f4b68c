//! `GET /api/health`: whether every part of the plane can do its work.

use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use shared::contract::task::Health;

use crate::Upstreams;

pub async fn show(State(upstreams): State<Upstreams>) -> Response {
    let parts =
        [("inventory", &upstreams.inventory), ("tasks", &upstreams.tasks), ("result-ingestor", &upstreams.ingestor)];
    let mut down = Vec::new();
    for (name, upstream) in parts {
        let mut probe = Request::new(Body::empty());
        *probe.uri_mut() = http::Uri::from_static("/readyz");
        if !upstream.call(probe).await.status().is_success() {
            down.push(name);
        }
    }
    if down.is_empty() {
        return Json(Health { status: "ok".to_owned(), detail: None }).into_response();
    }
    let detail = Some(format!("not ready: {}", down.join(", ")));
    (StatusCode::SERVICE_UNAVAILABLE, Json(Health { status: "unavailable".to_owned(), detail })).into_response()
}
