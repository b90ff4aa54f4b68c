//! A service in another process. Requests and answers are rebuilt rather than copied, and their bodies
//! stream through. What goes wrong on the way gets a sentence that names the service.
//!
//! Only what changes nothing is tried again (`GET` and `HEAD` without a body), and only while little
//! time has passed: a service that took long to fail would take as long again, and the caller would
//! wait for the same answer.

use std::time::{Duration, Instant};

use axum::body::{Body, HttpBody as _};
use axum::extract::Request;
use axum::response::Response;
use http::request::Parts;
use http::{Method, StatusCode, Version};
use reqwest::redirect::Policy;
use reqwest::{Client, Url};
use shared::config::key::Key;
use shared::error::{Error, Kind, Result};
use shared::rules::backoff::Backoff;
use tokio::time::{sleep, timeout};

use crate::Limits;
use crate::headers::end_to_end;

/// Connections kept for later, for each service.
const IDLE_CONNECTIONS_MAX: usize = 64;
/// How long they are kept. Services close theirs after 10 s; a request that meets a closing one is lost.
const IDLE_CONNECTION_TTL: Duration = Duration::from_secs(5);
/// How often a request is tried again.
const RETRIES_MAX: u32 = 2;
/// A try that failed after this long is the last.
const RETRY_WITHIN: Duration = Duration::from_secs(1);
/// What is waited before trying again.
const RETRY_WAIT: Backoff = Backoff { first: Duration::from_millis(50), most: Duration::from_millis(200) };

/// A service at an address that comes from the configuration and never from a request.
#[derive(Clone, Debug)]
pub struct Remote {
    name: &'static str,
    client: Client,
    base: Url,
    head: Duration,
}

impl Remote {
    /// The service `name` at `url`, which the setting `key` gave.
    pub fn new(name: &'static str, key: Key, url: &str, limits: &Limits) -> Result<Self> {
        let base = Url::parse(url).ok().filter(is_base).ok_or_else(|| {
            Error::bad_input(format!("{} must be an address like http://127.0.0.1:8081, without a path", key.name))
        })?;
        let mut builder = Client::builder()
            .no_proxy()
            .redirect(Policy::none())
            .retry(reqwest::retry::never()) // what is tried again is decided here
            .connect_timeout(limits.connect)
            .read_timeout(limits.idle)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .pool_idle_timeout(IDLE_CONNECTION_TTL);
        if base.scheme() == "http" {
            // Else a machine without CA certificates could not even reach a service of its own.
            builder = builder.tls_certs_only([]);
        }
        let client = builder.build().map_err(|error| {
            Error::unavailable("TLS cannot be set up; check that this machine has CA certificates").because(error)
        })?;
        Ok(Self { name, client, base, head: limits.head })
    }

    /// Passes a request on and brings the answer back.
    pub async fn call(&self, request: Request) -> Result<Response> {
        let (mut parts, body) = request.into_parts();
        let url = self.url(&parts)?;
        parts.headers = end_to_end(parts.headers);
        let method = parts.method.clone();
        let answer = async {
            if body.is_end_stream() {
                self.without_body(&parts, &url).await
            } else {
                let body = reqwest::Body::wrap_stream(body.into_data_stream());
                self.send(&parts, &url, Some(body)).await
            }
        };
        match timeout(self.head, answer).await {
            Ok(Ok(answer)) => Ok(rebuilt(answer)),
            Ok(Err(error)) => Err(self.failed(error, &method)),
            Err(_) => Err(self.late(&method)),
        }
    }

    fn url(&self, parts: &Parts) -> Result<Url> {
        let mut url = self.base.clone();
        url.set_path(parts.uri.path());
        // A path with `..` in it would be another one than the gateway chose this service for.
        if url.path() != parts.uri.path() {
            return Err(Error::not_found("there is no such path; write it plainly, without `.` and `..`"));
        }
        url.set_query(parts.uri.query());
        Ok(url)
    }

    async fn without_body(&self, parts: &Parts, url: &Url) -> reqwest::Result<reqwest::Response> {
        let (since, mut failures) = (Instant::now(), 0);
        loop {
            let answer = self.send(parts, url, None).await;
            let is_last = !parts.method.is_safe() || failures == RETRIES_MAX || since.elapsed() > RETRY_WITHIN;
            if is_last || !may_pass(&answer) {
                return answer;
            }
            failures += 1;
            sleep(RETRY_WAIT.wait(failures)).await;
        }
    }

    async fn send(&self, parts: &Parts, url: &Url, body: Option<reqwest::Body>) -> reqwest::Result<reqwest::Response> {
        let mut request = reqwest::Request::new(parts.method.clone(), url.clone());
        request.headers_mut().clone_from(&parts.headers);
        *request.body_mut() = body;
        self.client.execute(request).await
    }

    fn failed(&self, error: reqwest::Error, method: &Method) -> Error {
        let error = error.without_url(); // part of it comes from outside
        let name = self.name;
        if error.is_connect() {
            let detail = format!("the {name} service cannot be reached; try again shortly");
            return Error::unavailable(detail).because(error);
        }
        if error.is_timeout() {
            return self.late(method).because(error);
        }
        let detail = format!("the {name} service broke off its answer; {}", advice(method));
        Error::new(Kind::BadAnswer, detail).because(error)
    }

    fn late(&self, method: &Method) -> Error {
        Error::new(Kind::Timeout, format!("the {} service did not answer in time; {}", self.name, advice(method)))
    }
}

/// An address alone: a path would be overwritten, and a password would be shown.
fn is_base(url: &Url) -> bool {
    let is_plain = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    let is_open = url.username().is_empty() && url.password().is_none();
    matches!(url.scheme(), "http" | "https") && url.has_host() && is_plain && is_open
}

/// Whether trying again may help: the service was not there, broke off, or says that it is in trouble.
fn may_pass(answer: &reqwest::Result<reqwest::Response>) -> bool {
    match answer {
        Ok(answer) => matches!(
            answer.status(),
            StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT
        ),
        Err(error) => error.is_connect() || !error.is_timeout(),
    }
}

/// What to do about a request of which nobody knows whether it was carried out.
fn advice(method: &Method) -> &'static str {
    if method.is_safe() { "try again shortly" } else { "look whether it was done all the same before you try again" }
}

fn rebuilt(answer: reqwest::Response) -> Response {
    let (mut parts, body) = http::Response::<reqwest::Body>::from(answer).into_parts();
    parts.headers = end_to_end(parts.headers);
    parts.version = Version::HTTP_11;
    Response::from_parts(parts, Body::new(body))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use axum::body::to_bytes;
    use shared::config::key::TASKS_URL;
    use tokio::net::TcpListener;

    fn remote(url: &str) -> Result<Remote> {
        Remote::new("tasks", TASKS_URL, url, &Limits::default())
    }

    /// A service that says which path it was asked for.
    async fn echo() -> Remote {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(async |request: Request| request.uri().to_string());
        tokio::spawn(shared::http::serve::serve(listener, router, Default::default()));
        remote(&url).unwrap()
    }

    async fn ask(remote: &Remote, uri: &str) -> Result<String> {
        let answer = remote.call(Request::builder().uri(uri).body(Body::empty()).unwrap()).await?;
        let body = to_bytes(answer.into_body(), 1_000_000).await.unwrap();
        Ok(String::from_utf8(body.to_vec()).unwrap())
    }

    /// A path that means another one than the gateway looked at would lead past it.
    #[tokio::test]
    async fn a_path_arrives_as_it_was_sent_or_not_at_all() {
        let remote = echo().await;
        for uri in ["/api/servers", "/api/servers/a%2Fb?limit=%31&x", "/api/servers//", "/api/servers/%00"] {
            assert_eq!(ask(&remote, uri).await.unwrap(), uri);
        }
        for uri in ["/api/servers/../../livez", "/api/servers/%2e%2E/%2e./livez", "/api/servers/.", "/api/servers/./a"]
        {
            assert_eq!(ask(&remote, uri).await.unwrap_err().kind(), Kind::NotFound, "{uri}");
        }
    }

    #[test]
    fn only_a_plain_address_is_one() {
        for url in ["http://127.0.0.1:8081", "https://tasks.example.org/"] {
            assert!(remote(url).is_ok(), "{url}");
        }
        for url in ["", "tasks:8081", "ftp://h", "http://h/tasks", "http://user:geheim@h", "http://h/?x"] {
            let said = remote(url).unwrap_err().detail().to_owned();
            assert!(said.contains("MUSTER_TASKS_URL") && !said.contains("geheim"), "{url}: {said}");
        }
    }
}
