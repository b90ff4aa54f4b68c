//! What every request passes before a handler sees it. Read from the outside inwards: it is seen and
//! gets an id, a panic is caught, an error gets its form, load beyond the limit is shed, a body is read
//! to its end, and nothing takes for ever.

use std::any::Any;
use std::time::Duration;

use axum::error_handling::HandleErrorLayer;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse as _, Response};
use axum::{Json, Router};
use http::{StatusCode, header};
use tower::ServiceBuilder;
use tower::limit::GlobalConcurrencyLimitLayer;
use tower::load_shed::LoadShedLayer;
use tower_http::catch_panic::CatchPanicLayer;

use super::{access, drain, observe};
use crate::contract::task::Problem;
use crate::error::{Error, Kind};

/// Requests that are served at one time; more are refused at once.
pub const REQUESTS_MAX: usize = 512;
/// From the last byte of a request's head to the first of the answer.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);

/// Puts the layers around the router of a service.
pub fn around(service: &'static str, router: Router) -> Router {
    let router = router.layer(
        ServiceBuilder::new()
            .layer(from_fn(access::layer))
            .layer(CatchPanicLayer::custom(on_panic))
            .layer(from_fn(shape))
            // Outside the limit: who sends nothing of what was promised must not keep a place.
            .layer(from_fn(drain::layer))
            .layer(HandleErrorLayer::new(async |_: axum::BoxError| {
                Error::unavailable("too many requests at once; try again shortly")
            }))
            .layer(LoadShedLayer::new())
            // One limit for all routes together; axum's own layer would count for each route apart.
            .layer(GlobalConcurrencyLimitLayer::new(REQUESTS_MAX))
            .layer(from_fn(in_time)),
    );
    observe::around(service, router)
}

fn on_panic(_: Box<dyn Any + Send>) -> Response {
    Error::internal("a handler panicked").into_response()
}

async fn in_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Error::new(Kind::Timeout, "the request took too long; try again").into_response(),
    }
}

/// Gives the router's own errors (no such path, no such method) the form of all others.
async fn shape(request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let status = response.status();
    let is_json = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/json"));
    if is_json || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let detail = match status {
        StatusCode::NOT_FOUND => "there is no such path; the API's paths begin with /api".to_owned(),
        StatusCode::METHOD_NOT_ALLOWED => "this path does not take this method; see the `Allow` header".to_owned(),
        _ => status.canonical_reason().unwrap_or("the request could not be served").to_lowercase(),
    };
    let (mut parts, _) = response.into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.remove(header::CONTENT_TYPE);
    (parts, Json(Problem { detail })).into_response()
}
