//! The upstream seam: where a service is, seen from the gateway. Both ways stream bodies through.

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use shared::config::key::Key;
use shared::error::Result;
use tower::ServiceExt as _;

use crate::Limits;
use crate::remote::Remote;

/// A service behind the gateway.
#[derive(Clone)]
pub enum Upstream {
    /// In this process.
    Local(Router),
    /// In another one.
    Remote(Remote),
}

impl Upstream {
    /// The service `name` at `url`, which the setting `key` gave.
    ///
    /// # Errors
    /// Bad input when `url` is no plain `http` or `https` address.
    pub fn remote(name: &'static str, key: Key, url: &str, limits: &Limits) -> Result<Self> {
        Remote::new(name, key, url, limits).map(Self::Remote)
    }

    /// Passes a request on and brings the answer back.
    pub async fn call(&self, request: Request) -> Result<Response> {
        match self {
            Self::Local(router) => Ok(router.clone().oneshot(request).await.unwrap_or_else(|never| match never {})),
            Self::Remote(remote) => remote.call(request).await,
        }
    }
}
