//! The gateway: the one door to `/api`. It knows which service owns which path and nothing of what
//! they do. The embedded plane goes through the same door, so what is tested there is what runs in
//! production.

mod headers;
mod health;
mod limits;
mod rate;
mod remote;
mod upstream;

use std::num::NonZeroU32;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use http::StatusCode;
use shared::config::Source;
use shared::config::key;
use shared::error::{Error, Result};
use shared::http::observe::{self, Route};
use shared::run::{Boot, Service};
use shared::telemetry::{Kind, Span, TraceContext};

pub use limits::Limits;
pub use remote::Remote;
pub use upstream::Upstream;

use rate::Rate;

/// The services behind the gateway.
#[derive(Clone)]
pub struct Upstreams {
    /// Servers and client keys.
    pub inventory: Upstream,
    /// Commands, tasks and what came of them.
    pub tasks: Upstream,
    /// What agents report, and what of it could not be handled.
    pub ingestor: Upstream,
}

/// What the handlers work with.
#[derive(Clone)]
struct Gateway {
    upstreams: Upstreams,
    /// How long a service may take to say how it is.
    probe: Duration,
}

/// The gateway in front of services of other processes.
pub fn alone(boot: &Boot) -> Result<Service> {
    let limits = Limits { rate: rate(boot.settings())?, ..Limits::default() };
    let upstream = |name, key| Upstream::remote(name, key, boot.url(key), &limits);
    let upstreams = Upstreams {
        inventory: upstream("inventory", key::INVENTORY_URL)?,
        tasks: upstream("tasks", key::TASKS_URL)?,
        ingestor: upstream("result-ingestor", key::RESULT_INGESTOR_URL)?,
    };
    Ok(Service { name: "gateway", routes: routes(upstreams, &limits), consumers: Vec::new(), chores: Vec::new() })
}

fn rate(settings: &Source) -> Result<Option<NonZeroU32>> {
    let form = "a whole number of requests a second, 0 for no limit";
    Ok(settings.parse(key::RATE_LIMIT, form)?.map_or(Limits::default().rate, NonZeroU32::new))
}

/// The gateway's routes.
pub fn routes(upstreams: Upstreams, limits: &Limits) -> Router {
    let gateway = Gateway { upstreams, probe: limits.probe };
    let routes = Router::new().route("/api/health", get(health::show)).fallback(forward).with_state(gateway);
    match limits.rate {
        Some(per_sec) => routes.layer(from_fn_with_state(Rate::new(per_sec), rate::layer)),
        None => routes,
    }
}

async fn forward(State(gateway): State<Gateway>, mut request: Request) -> Response {
    let Some((route, upstream)) = gateway.upstreams.of(request.uri().path()) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    headers::distrust(request.headers_mut());
    let parent = TraceContext::current().or_else(|| observe::parent(request.headers()));
    let span = Span::start("forward", Kind::Client, parent);
    observe::hand_on(span.context(), request.headers_mut());
    let mut response = span.scope(upstream.call(request)).await.unwrap_or_else(Error::into_response);
    response.extensions_mut().insert(Route(route));
    response
}

impl Upstreams {
    /// The owner of a path, and what all paths of that kind are called together.
    fn of(&self, path: &str) -> Option<(&'static str, &Upstream)> {
        let resource = path.strip_prefix("/api/")?.split('/').next()?;
        match resource {
            "servers" => Some(("/api/servers", &self.inventory)),
            "client-keys" => Some(("/api/client-keys", &self.inventory)),
            "commands" => Some(("/api/commands", &self.tasks)),
            "tasks" => Some(("/api/tasks", &self.tasks)),
            "dead" => Some(("/api/dead", &self.ingestor)),
            "signing-keys" => Some(("/api/signing-keys", &self.tasks)),
            _ => None,
        }
    }
}
