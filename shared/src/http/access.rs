//! Every request gets an id, and once it is answered a line in the log that shows it. The id is made
//! here and nowhere else: one that a request brings is never taken over, because whoever chooses ids
//! can make two requests look like one. It is only noted beside ours, and so the lines of a gateway
//! and of the service behind it can be brought together.
//!
//! This stands outside of all limits, so the answers that they give carry the id too.
//! `RUST_LOG=info,access=off` leaves the lines out.

use std::time::Instant;

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use super::{Peer, REQUEST_ID};
use crate::id;

/// The most of a path that a line shows, in characters.
const PATH_CHARS_MAX: usize = 200;
/// An id has this many hexadecimal digits.
const ID_DIGITS: usize = 32;
/// Paths that are asked for so often that nobody wants to read of it.
const QUIET: [&str; 3] = ["/livez", "/readyz", "/metrics"];

/// Gives a request its id and tells of its answer.
pub async fn layer(mut request: Request, next: Next) -> Response {
    let Ok(own) = HeaderValue::try_from(id::random()) else { return next.run(request).await };
    let line = Line::new(&request);
    request.headers_mut().insert(REQUEST_ID, own.clone());
    let mut response = next.run(request).await;
    if let Some(line) = line {
        line.write(&own, response.status());
    }
    response.headers_mut().insert(REQUEST_ID, own);
    response
}

/// What the line will say, taken before the request is given away.
struct Line {
    since: Instant,
    method: Method,
    path: String,
    peer: Option<Peer>,
    brought: Option<String>,
}

impl Line {
    /// Nothing when nobody would read it.
    fn new(request: &Request) -> Option<Self> {
        let path = request.uri().path();
        if QUIET.contains(&path) || !tracing::enabled!(target: "access", tracing::Level::INFO) {
            return None;
        }
        Some(Self {
            since: Instant::now(),
            method: request.method().clone(),
            path: path.escape_debug().take(PATH_CHARS_MAX).collect(),
            peer: request.extensions().get().copied(),
            brought: brought(request.headers()),
        })
    }

    fn write(self, id: &HeaderValue, status: StatusCode) {
        let ms = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::info!(
            target: "access",
            request_id = id.to_str().unwrap_or_default(),
            brought = self.brought,
            peer = self.peer.map(|Peer(ip)| ip.to_string()),
            method = self.method.as_str(),
            path = self.path,
            status = status.as_u16(),
            ms,
            "answered"
        );
    }
}

/// The id that a request had at another door, if it looks like one of ours.
fn brought(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(REQUEST_ID)?.to_str().ok()?;
    let is_id = text.len() == ID_DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_id.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use axum::body::{Body, to_bytes};
    use tower::ServiceExt as _;

    /// The id that the handler saw, and the one in the answer.
    async fn ids(uri: &str, sent: Option<&str>) -> (String, String) {
        let handler = async |headers: HeaderMap| headers[REQUEST_ID].to_str().unwrap().to_owned();
        let router = crate::http::layers::around("test", Router::new().route("/seen", axum::routing::get(handler)));
        let mut request = Request::builder().uri(uri);
        if let Some(sent) = sent {
            request = request.header(REQUEST_ID, sent);
        }
        let response = router.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let answered = response.headers()[REQUEST_ID].to_str().unwrap().to_owned();
        let body = to_bytes(response.into_body(), 10_000).await.unwrap();
        (String::from_utf8(body.to_vec()).unwrap(), answered)
    }

    #[tokio::test]
    async fn the_id_is_ours_and_the_same_everywhere() {
        let forged = "0af7651916cd43dd8448eb211c80319c";
        let (seen, answered) = ids("/seen", Some(forged)).await;
        assert_eq!((seen.as_str(), answered.len()), (answered.as_str(), ID_DIGITS));
        assert_ne!(answered, forged);
        let (_, refused) = ids("/nowhere", None).await;
        assert!(refused.len() == ID_DIGITS && refused != answered);
    }

    #[test]
    fn only_what_looks_like_an_id_is_noted() {
        let headers = |text: &str| HeaderMap::from_iter([(REQUEST_ID, HeaderValue::from_str(text).unwrap())]);
        assert!(brought(&headers("0af7651916cd43dd8448eb211c80319c")).is_some());
        assert_eq!(brought(&headers("0af7651916cd43dd8448eb211c80319c\t{}")), None);
        assert_eq!(brought(&HeaderMap::new()), None);
    }
}
