//! The gateway: the one door to `/api`. It knows which service owns which path and nothing of what
//! they do. The embedded plane goes through the same door, so what is tested there is what runs in
//! production.

mod health;
mod upstream;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use http::{HeaderValue, StatusCode};
use shared::error::Result;
use shared::http::TRACEPARENT;
use shared::run::Service;
use shared::telemetry::TraceContext;

pub use upstream::Upstream;

/// The services behind the gateway.
#[derive(Clone)]
pub struct Upstreams {
    /// Servers and client keys.
    pub inventory: Upstream,
    /// Commands, tasks and what came of them.
    pub tasks: Upstream,
    /// What agents report; it has no paths, but it must be alive.
    pub ingestor: Upstream,
}

/// The gateway in front of services of other processes, whose addresses the environment gives.
pub fn alone() -> Result<Service> {
    let upstream = |name: &str| Upstream::remote(name, &std::env::var(name).unwrap_or_default());
    let upstreams = Upstreams {
        inventory: upstream("MUSTER_INVENTORY_URL")?,
        tasks: upstream("MUSTER_TASKS_URL")?,
        ingestor: upstream("MUSTER_RESULT_INGESTOR_URL")?,
    };
    Ok(Service { name: "gateway", routes: routes(upstreams), consumers: Vec::new(), chores: Vec::new() })
}

/// The gateway's routes.
pub fn routes(upstreams: Upstreams) -> Router {
    Router::new().route("/api/health", get(health::show)).fallback(forward).with_state(upstreams)
}

async fn forward(State(upstreams): State<Upstreams>, mut request: Request) -> Response {
    let Some(upstream) = upstreams.of(request.uri().path()) else { return StatusCode::NOT_FOUND.into_response() };
    let incoming =
        request.headers().get(TRACEPARENT).and_then(|value| value.to_str().ok()).and_then(TraceContext::parse);
    let trace = incoming.as_ref().map_or_else(TraceContext::start, TraceContext::child);
    if let Ok(value) = HeaderValue::from_str(&trace.traceparent()) {
        request.headers_mut().insert(TRACEPARENT, value);
    }
    upstream.call(request).await
}

impl Upstreams {
    /// The owner of a path.
    fn of(&self, path: &str) -> Option<&Upstream> {
        let resource = path.strip_prefix("/api/")?.split('/').next()?;
        match resource {
            "servers" | "client-keys" => Some(&self.inventory),
            "commands" | "tasks" | "signing-keys" => Some(&self.tasks),
            _ => None,
        }
    }
}
