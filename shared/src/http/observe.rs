//! What is seen of a request from the outside: a server span below the caller's, a count and a
//! duration, by the pattern of its route. It stands outside of all limits, so what they refuse is
//! seen too; the probes are not, since nobody asks how often they were asked.

use std::time::Instant;

use axum::Router;
use axum::extract::{MatchedPath, Request};
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use http::{HeaderMap, HeaderValue, Method};

use super::TRACEPARENT;
use crate::metrics;
use crate::telemetry::{Kind, Span, TraceContext};

/// Paths that are not observed.
const PROBES: [&str; 3] = ["/livez", "/readyz", "/metrics"];
/// The route of a request that no route took.
const NO_ROUTE: &str = "none";

/// What a service that passes requests on says in its answer of the route it took.
#[derive(Clone, Copy, Debug)]
pub struct Route(pub &'static str);

/// Puts this layer around a service's router.
pub fn around(service: &'static str, router: Router) -> Router {
    router.layer(from_fn(move |request: Request, next: Next| observe(service, request, next)))
}

/// Where a request says that it comes from.
pub fn parent(headers: &HeaderMap) -> Option<TraceContext> {
    headers.get(TRACEPARENT)?.to_str().ok().and_then(TraceContext::parse)
}

/// Tells the next service where a request comes from.
pub fn hand_on(context: TraceContext, headers: &mut HeaderMap) {
    if let Ok(value) = HeaderValue::from_str(&context.traceparent()) {
        headers.insert(TRACEPARENT, value);
    }
}

async fn observe(service: &'static str, request: Request, next: Next) -> Response {
    if PROBES.contains(&request.uri().path()) {
        return next.run(request).await;
    }
    let mut seen = Seen::new(service, &request);
    let context = seen.span.context();
    let response = context.scope(next.run(request)).await;
    seen.answered(&response);
    response
}

/// A request under way. It is counted when it is dropped, because a caller may leave at any time.
struct Seen {
    service: &'static str,
    method: Method,
    route: String,
    status: Option<u16>,
    since: Instant,
    span: Span,
}

impl Seen {
    fn new(service: &'static str, request: &Request) -> Self {
        let method = request.method().clone();
        let route = request.extensions().get::<MatchedPath>().map_or(NO_ROUTE, MatchedPath::as_str).to_owned();
        let mut span = Span::start(method.to_string(), Kind::Server, parent(request.headers()));
        span.set("muster.service", service);
        span.set("http.request.method", method.to_string());
        Self { service, method, route, status: None, since: Instant::now(), span }
    }

    fn answered(&mut self, response: &Response) {
        if let Some(Route(route)) = response.extensions().get() {
            self.route = (*route).to_owned();
        }
        self.status = Some(response.status().as_u16());
        self.span.set("http.response.status_code", i64::from(response.status().as_u16()));
        if response.status().is_server_error() {
            self.span.fail("the request could not be served");
        }
    }
}

impl Drop for Seen {
    fn drop(&mut self) {
        metrics::request(self.service, &self.method, &self.route, self.status, self.since.elapsed());
        if self.route != NO_ROUTE {
            self.span.rename(format!("{} {}", self.method, self.route));
            self.span.set("http.route", self.route.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::routing::get;
    use http::StatusCode;
    use tower::ServiceExt as _;

    use super::*;

    #[tokio::test]
    async fn a_handler_works_under_the_caller_s_trace() {
        let place = async || TraceContext::current().map_or_else(String::new, |context| context.traceparent());
        let router = around("test", Router::new().route("/place", get(place)).route("/livez", get(place)));
        let caller = TraceContext::start();
        for (path, expected) in [("/place", caller.traceparent()), ("/livez", String::new())] {
            let mut request = Request::builder().uri(path).body(Body::empty()).unwrap();
            hand_on(caller, request.headers_mut());
            let response = router.clone().oneshot(request).await.unwrap();
            assert_eq!(response.status(), StatusCode::OK);
            let body = axum::body::to_bytes(response.into_body(), 100).await.unwrap();
            assert_eq!(body, expected, "{path}");
        }
    }
}
