//! The API from the other side, for the command line and for agents that enrol.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, DATE, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Method, RequestBuilder, Response, StatusCode, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use crate::clock::Time;
use crate::contract::task::Problem;
use crate::error::{Error, Kind, Result};

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the answer may be silent.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// What answers without a token, and whether or not all is well.
const HEALTH: &str = "/api/health";

/// The header under which a repeated request counts once.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// A client of one control plane. Its `Debug` does not show the token.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    authorization: Option<HeaderValue>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("base", &self.base.as_str()).finish_non_exhaustive()
    }
}

impl Client {
    /// A client of the control plane at `url`.
    ///
    /// # Errors
    /// Bad input when `url` is no `http` or `https` address, or the token cannot stand in a header.
    pub fn new(url: &str, token: Option<String>) -> Result<Self> {
        Self::with_ca(url, token, None)
    }

    /// The same, whose certificate must come from the CA in `ca_file` (PEM), instead of the system's.
    ///
    /// # Errors
    /// As [`Client::new`], and when the file holds no certificate.
    pub fn with_ca(url: &str, token: Option<String>, ca_file: Option<&Path>) -> Result<Self> {
        let base = Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let base = base.ok_or_else(|| {
            Error::bad_input(format!(
                "`{url}` is not an address of a control plane; write it like http://127.0.0.1:8080"
            ))
        })?;
        let mut builder = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .redirect(Policy::none()) // the API has none, and a token must not follow one
            .no_proxy();
        if let Some(ca_file) = ca_file {
            builder = builder.tls_certs_only(certificates(ca_file)?);
        } else if base.scheme() == "http" {
            // Else a machine without CA certificates could not even speak to a plane of its own.
            builder = builder.tls_certs_only([]);
        }
        let http = builder.build().map_err(|error| {
            Error::unavailable("TLS cannot be set up; check that this machine has CA certificates").because(error)
        })?;
        Ok(Self { http, base, authorization: token.as_deref().map(bearer).transpose()? })
    }

    /// Whether others can read and change on its way what is said: no TLS, and not within this machine.
    pub fn is_exposed(&self) -> bool {
        let host = self.base.host_str().unwrap_or_default().trim_matches(['[', ']']);
        let is_loopback = host.parse::<IpAddr>().map_or(host == "localhost", |ip| ip.is_loopback());
        self.base.scheme() == "http" && !is_loopback
    }

    /// Reads something.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.read(self.request(Method::GET, path)).await
    }

    /// Reads something with a query, like `[("limit", "20")]`. A path never holds one: its `?` would
    /// be encoded.
    pub async fn get_with<T: DeserializeOwned>(&self, path: &str, query: &[(&str, &str)]) -> Result<T> {
        let mut url = self.url(path);
        url.query_pairs_mut().extend_pairs(query);
        self.read(self.request_to(Method::GET, url)).await
    }

    /// What time the control plane says it is, to the second; `None` when it does not say.
    pub async fn date(&self) -> Result<Option<Time>> {
        let response = self.reach(self.request(Method::GET, HEALTH)).await?;
        let date = response.headers().get(DATE).and_then(|date| date.to_str().ok());
        let moment = date.and_then(|date| OffsetDateTime::parse(date, &Rfc2822).ok());
        Ok(moment.map(|moment| Time(moment.unix_timestamp().saturating_mul(1_000))))
    }

    /// Posts a body that counts once however often it is sent under the same `Idempotency-Key`.
    pub async fn post_once<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize, key: &str) -> Result<T> {
        self.read(self.request(Method::POST, path).header(IDEMPOTENCY_KEY, key).json(body)).await
    }

    /// Sends a body and reads the answer.
    pub async fn send<T: DeserializeOwned>(&self, method: Method, path: &str, body: &impl Serialize) -> Result<T> {
        self.read(self.request(method, path).json(body)).await
    }

    /// Does something that has no answer.
    pub async fn act(&self, method: Method, path: &str) -> Result<()> {
        self.answer(self.request(method, path)).await.map(drop)
    }

    /// Does something without a body and reads the answer.
    pub async fn ask<T: DeserializeOwned>(&self, method: Method, path: &str) -> Result<T> {
        self.read(self.request(method, path)).await
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.request_to(method, self.url(path))
    }

    fn request_to(&self, method: Method, url: Url) -> RequestBuilder {
        let request = self.http.request(method, url);
        match &self.authorization {
            Some(authorization) => request.header(AUTHORIZATION, authorization),
            None => request,
        }
    }

    /// A path of the API below the base, which may have a path of its own behind a proxy.
    fn url(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{path}", self.base.path().trim_end_matches('/')));
        url.set_query(None);
        url
    }

    async fn read<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T> {
        let body = self.answer(request).await?.bytes().await;
        let body = body.map_err(|error| {
            Error::unavailable(format!("the answer of {} broke off; ask again", self.base)).because(error)
        })?;
        serde_json::from_slice(&body).map_err(|error| {
            let detail = format!("what answers at {} does not speak Muster's API; check the address", self.base);
            Error::unavailable(detail).because(error)
        })
    }

    async fn reach(&self, request: RequestBuilder) -> Result<Response> {
        request.send().await.map_err(|error| {
            let what = if error.is_timeout() { "does not answer in time" } else { "cannot be reached" };
            Error::unavailable(format!("{} {what}; check the address and that the control plane runs", self.base))
                .because(error)
        })
    }

    async fn answer(&self, request: RequestBuilder) -> Result<Response> {
        let response = self.reach(request).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let problem = response.json::<Problem>().await;
        let detail = problem.map_or_else(|_| format!("{} answered with {status}", self.base), |problem| problem.detail);
        Err(Error::new(kind(status), detail))
    }
}

fn certificates(path: &Path) -> Result<Vec<Certificate>> {
    let shown = path.display();
    let pem = std::fs::read(path)
        .map_err(|error| Error::bad_input(format!("the CA's file {shown} cannot be read: {error}")))?;
    let found = Certificate::from_pem_bundle(&pem).ok().filter(|found| !found.is_empty());
    found.ok_or_else(|| Error::bad_input(format!("{shown} must hold a CA's certificate as PEM")))
}

/// Marked sensitive, so that no `Debug` and no log shows it.
fn bearer(token: &str) -> Result<HeaderValue> {
    let refused = |_| Error::bad_input("the token holds characters that no token has; check it for a stray line break");
    let mut header = HeaderValue::from_str(&format!("Bearer {token}")).map_err(refused)?;
    header.set_sensitive(true);
    Ok(header)
}

/// What a status tells a caller: whether to change the request, or to try again later.
fn kind(status: StatusCode) -> Kind {
    match status {
        StatusCode::UNAUTHORIZED => Kind::Unauthorized,
        StatusCode::FORBIDDEN => Kind::Forbidden,
        StatusCode::NOT_FOUND => Kind::NotFound,
        StatusCode::CONFLICT => Kind::Conflict,
        StatusCode::PAYLOAD_TOO_LARGE => Kind::TooLarge,
        StatusCode::UNSUPPORTED_MEDIA_TYPE => Kind::UnsupportedMedia,
        StatusCode::TOO_MANY_REQUESTS => Kind::TooMany,
        StatusCode::INTERNAL_SERVER_ERROR => Kind::Internal,
        StatusCode::BAD_GATEWAY => Kind::BadAnswer,
        StatusCode::GATEWAY_TIMEOUT => Kind::Timeout,
        status if status.is_client_error() => Kind::BadInput,
        _ => Kind::Unavailable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(url: &str) -> Client {
        Client::new(url, Some("secret".to_owned())).unwrap()
    }

    #[test]
    fn paths_and_queries_stay_apart() {
        for (base, expected) in [
            ("http://h:1", "http://h:1/api/tasks"),
            ("http://h:1/", "http://h:1/api/tasks"),
            ("https://h/muster/?x=1", "https://h/muster/api/tasks"),
        ] {
            assert_eq!(client(base).url("/api/tasks").as_str(), expected);
        }
        assert_eq!(client("http://h").url("/api/a?b").as_str(), "http://h/api/a%3Fb");
    }

    #[test]
    fn only_tls_and_loopback_keep_what_is_said_from_others() {
        for (base, exposed) in [
            ("http://127.0.0.1:1", false),
            ("http://[::1]:1", false),
            ("http://localhost", false),
            ("https://h", false),
            ("http://h", true),
            ("http://192.0.2.1", true),
            ("http://localhost.example.org", true),
        ] {
            assert_eq!(client(base).is_exposed(), exposed, "{base}");
        }
    }

    #[test]
    fn a_ca_file_without_a_certificate_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        for text in [None, Some(""), Some("nonsense")] {
            if let Some(text) = text {
                std::fs::write(&path, text).unwrap();
            }
            let error = Client::with_ca("https://h", None, Some(&path)).unwrap_err();
            assert!(error.detail().contains("ca.pem"), "{}", error.detail());
        }
    }

    #[test]
    fn the_token_is_never_shown() {
        assert!(!format!("{:?}", client("http://h")).contains("secret"));
        assert!(!format!("{:?}", client("http://h").request(Method::GET, "/")).contains("secret"));
        assert!(Client::new("http://h", Some("a\nb".to_owned())).is_err());
    }

    #[test]
    fn only_trouble_that_may_pass_is_unavailable() {
        for (status, expected) in [
            (400, Kind::BadInput),
            (405, Kind::BadInput),
            (413, Kind::TooLarge),
            (422, Kind::BadInput),
            (500, Kind::Internal),
            (429, Kind::TooMany),
            (502, Kind::BadAnswer),
            (503, Kind::Unavailable),
        ] {
            assert_eq!(kind(StatusCode::from_u16(status).unwrap()), expected, "{status}");
        }
    }
}
