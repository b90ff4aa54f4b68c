//! Who may come in. With a token, every call but the health check must carry it. Without one, Muster
//! listens on loopback only; and because any web page can make a browser talk to loopback, the
//! `Host` and `Origin` of each request must be loopback's too (DNS rebinding changes the former,
//! cross-site requests the latter).

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, header};
use subtle::ConstantTimeEq as _;

use super::CALLER;
use crate::error::{Error, Kind, Result};
use crate::sign::digest;

/// The shortest token that is accepted, in characters.
pub const TOKEN_CHARS_MIN: usize = 16;

/// What a caller is called whom being on this machine is enough for.
pub const LOCAL: &str = "local";

/// Paths that say nothing but whether all is well.
const OPEN: [&str; 3] = ["/api/health", "/livez", "/readyz"];

/// Who may come in.
#[derive(Clone)]
pub enum Guard {
    /// Callers on this machine.
    Loopback,
    /// Callers with the token of this SHA-256.
    Token(Arc<str>),
}

impl Guard {
    /// Callers with this token.
    ///
    /// # Errors
    /// Bad input when it is too short to be a secret.
    pub fn token(token: &str) -> Result<Self> {
        if token.chars().count() < TOKEN_CHARS_MIN {
            return Err(Error::bad_input(format!(
                "the API token must have at least {TOKEN_CHARS_MIN} characters; make a longer one"
            )));
        }
        Ok(Self::Token(digest(token.as_bytes()).into()))
    }

    /// Says who is calling, or why they may not.
    fn admit(&self, path: &str, headers: &HeaderMap) -> Result<&'static str> {
        match self {
            Self::Loopback => from_here(headers).map(|()| LOCAL),
            Self::Token(_) if OPEN.contains(&path) => Ok("anyone"),
            Self::Token(expected) => {
                let offered = digest(bearer(headers).unwrap_or_default().as_bytes());
                let same: bool = offered.as_bytes().ct_eq(expected.as_bytes()).into();
                let refused =
                    || Error::new(Kind::Unauthorized, "send the API token as `Authorization: Bearer <token>`");
                same.then_some("token").ok_or_else(refused)
            }
        }
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Each of them must be right where one comes twice: who else looks may look at the other.
fn from_here(headers: &HeaderMap) -> Result<()> {
    let all = |name| headers.get_all(name).iter().map(|value: &HeaderValue| value.to_str().unwrap_or("?"));
    if !headers.contains_key(header::HOST) || !all(header::HOST).all(is_loopback) {
        return Err(Error::new(
            Kind::Forbidden,
            "without an API token, Muster answers only to `localhost`, `127.0.0.1` or `[::1]` as the Host",
        ));
    }
    let foreign_origin = all(header::ORIGIN).any(|origin| !origin.strip_prefix("http://").is_some_and(is_loopback));
    let cross_site = all(header::HeaderName::from_static("sec-fetch-site")).any(|site| site == "cross-site");
    if foreign_origin || cross_site {
        return Err(Error::new(Kind::Forbidden, "without an API token, Muster answers to no page of another origin"));
    }
    Ok(())
}

fn is_loopback(authority: &str) -> bool {
    let host = authority.parse::<Authority>().map(|authority| authority.host().to_owned());
    host.is_ok_and(|host| ["localhost", "127.0.0.1", "[::1]"].contains(&host.as_str()))
}

/// Lets in whom the guard admits, and tells the services behind who it is.
pub async fn layer(State(guard): State<Guard>, mut request: Request, next: Next) -> Result<Response> {
    let caller = guard.admit(request.uri().path(), request.headers())?;
    request.headers_mut().insert(CALLER, HeaderValue::from_static(caller));
    Ok(next.run(request).await)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn loopback_means_this_machine() {
        for good in [
            &[("host", "localhost:8080")][..],
            &[("host", "127.0.0.1")],
            &[("host", "[::1]:1"), ("origin", "http://localhost:3")],
        ] {
            assert!(Guard::Loopback.admit("/api/servers", &headers(good)).is_ok(), "{good:?}");
        }
        for bad in [
            &[][..],
            &[("host", "evil.example")],
            &[("host", "localhost.evil.example")],
            &[("host", "127.0.0.1.evil.example:8080")],
            &[("host", "user@evil.example")],
            &[("host", "localhost"), ("origin", "https://evil.example")],
            &[("host", "localhost"), ("origin", "null")],
            &[("host", "localhost"), ("sec-fetch-site", "cross-site")],
        ] {
            assert!(Guard::Loopback.admit("/api/servers", &headers(bad)).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_token_opens_all_and_nothing_else_does() {
        assert!(Guard::token("short").is_err());
        let guard = Guard::token("0123456789abcdef").unwrap();
        assert!(guard.admit("/api/servers", &headers(&[("authorization", "Bearer 0123456789abcdef")])).is_ok());
        assert!(guard.admit("/api/health", &headers(&[])).is_ok());
        for bad in [
            &[][..],
            &[("authorization", "Bearer 0123456789abcdeF")],
            &[("authorization", "Basic 0123456789abcdef")],
            &[("authorization", "Bearer")],
        ] {
            assert!(guard.admit("/api/servers", &headers(bad)).is_err(), "{bad:?}");
        }
    }
}
