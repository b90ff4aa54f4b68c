//! The upstream seam: where a service is, seen from the gateway. Both ways stream bodies through.

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, TE, TRAILER, TRANSFER_ENCODING, UPGRADE};
use reqwest::Url;
use shared::error::{Error, Result};
use tower::ServiceExt as _;

/// Headers that concern one connection only (RFC 9110, section 7.6.1), and so stop here.
const HOP_BY_HOP: [HeaderName; 7] =
    [CONNECTION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, HeaderName::from_static("keep-alive"), HOST];

/// A service behind the gateway.
#[derive(Clone)]
pub enum Upstream {
    /// In this process.
    Local(Router),
    /// At this address, which comes from the configuration and never from a request.
    Remote(reqwest::Client, Url),
}

impl Upstream {
    /// A service at `url`; `name` is the setting that gave it.
    pub fn remote(name: &str, url: &str) -> Result<Self> {
        let url = Url::parse(url).ok().filter(|url| url.scheme() == "http" && url.has_host());
        let url =
            url.ok_or_else(|| Error::bad_input(format!("{name} must be an address like http://127.0.0.1:8081")))?;
        let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build();
        Ok(Self::Remote(client.map_err(Error::internal)?, url))
    }

    /// Passes a request on and brings the answer back.
    pub async fn call(&self, request: Request) -> Response {
        match self {
            Self::Local(router) => router.clone().oneshot(request).await.unwrap_or_else(|never| match never {}),
            Self::Remote(client, base) => {
                remote(client, base, request).await.unwrap_or_else(|error| error.into_response())
            }
        }
    }
}

async fn remote(client: &reqwest::Client, base: &Url, request: Request) -> Result<Response> {
    let (parts, body) = request.into_parts();
    let mut url = base.clone();
    url.set_path(parts.uri.path());
    // A path with `..` in it would be another one than the gateway chose this service for.
    if url.path() != parts.uri.path() {
        return Err(Error::not_found("there is no such path; write it plainly, without `.` and `..`"));
    }
    url.set_query(parts.uri.query());
    let mut sent = client.request(parts.method, url).headers(end_to_end(parts.headers));
    if !http_body::Body::is_end_stream(&body) {
        sent = sent.body(reqwest::Body::wrap_stream(body.into_data_stream()));
    }
    let away =
        |error| Error::unavailable("a service behind the gateway does not answer; try again shortly").because(error);
    let answer: http::Response<reqwest::Body> = sent.send().await.map_err(away)?.into();
    let (mut parts, body) = answer.into_parts();
    parts.headers = end_to_end(parts.headers);
    Ok(Response::from_parts(parts, Body::new(body)))
}

fn end_to_end(mut headers: HeaderMap) -> HeaderMap {
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
    // The length belongs to the body that is sent on, which says it itself.
    headers.remove(CONTENT_LENGTH);
    headers
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::to_bytes;
    use tokio::net::TcpListener;

    /// A service that says which path it was asked for.
    async fn echo() -> Upstream {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(async |request: Request| request.uri().to_string());
        tokio::spawn(shared::http::serve::serve(listener, router, Default::default()));
        Upstream::remote("TEST", &url).unwrap()
    }

    async fn ask(upstream: &Upstream, uri: &str) -> (http::StatusCode, String) {
        let request = Request::builder().uri(uri).body(Body::empty()).unwrap();
        let answer = upstream.call(request).await;
        let status = answer.status();
        let body = to_bytes(answer.into_body(), 1_000_000).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    /// A path that means another one than the gateway looked at would lead past it.
    #[tokio::test]
    async fn a_path_arrives_as_it_was_sent_or_not_at_all() {
        let upstream = echo().await;
        for uri in ["/api/servers", "/api/servers/a%2Fb?limit=%31&x", "/api/servers//", "/api/servers/%00"] {
            assert_eq!(ask(&upstream, uri).await, (http::StatusCode::OK, uri.to_owned()));
        }
        for uri in ["/api/servers/../../livez", "/api/servers/%2e%2E/%2e./livez", "/api/servers/.", "/api/servers/./a"]
        {
            assert_eq!(ask(&upstream, uri).await.0, http::StatusCode::NOT_FOUND, "{uri}");
        }
    }
}
