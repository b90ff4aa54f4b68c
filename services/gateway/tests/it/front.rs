//! A gateway of a test's own on a free port, as it stands in production: with its guard and its layers.

use std::time::Duration;

use axum::middleware::from_fn_with_state;
use gateway::{Limits, Upstream, Upstreams};
use reqwest::header::{AUTHORIZATION, HeaderMap};
use reqwest::{Method, RequestBuilder, Response};
use serde_json::Value;
use shared::config::key;
use shared::http::guard::{self, Guard};
use shared::http::{REQUEST_ID, layers, serve};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Longer than anything takes on a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// For tests that wait until a limit is reached.
pub const SHORT: Duration = Duration::from_millis(300);

const TOKEN: &str = "0123456789abcdef";

pub struct Front {
    pub url: String,
    http: reqwest::Client,
    _stop: DropGuard,
}

/// Limits that nothing reaches.
pub fn patient() -> Limits {
    Limits { rate: None, head: PATIENCE, idle: PATIENCE, connect: PATIENCE, probe: PATIENCE }
}

impl Front {
    /// A gateway all of whose services are at `url`.
    pub async fn before(url: &str, limits: Limits) -> Self {
        let upstream = |name, key| Upstream::remote(name, key, url, &limits).unwrap();
        let upstreams = Upstreams {
            inventory: upstream("inventory", key::INVENTORY_URL),
            tasks: upstream("tasks", key::TASKS_URL),
            ingestor: upstream("result-ingestor", key::RESULT_INGESTOR_URL),
        };
        let routes = gateway::routes(upstreams, &limits);
        let router =
            layers::around("gateway", routes.layer(from_fn_with_state(Guard::token(TOKEN).unwrap(), guard::layer)));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let stop = CancellationToken::new();
        tokio::spawn(serve::serve(listener, router, stop.clone()));
        Self { url, http: client(), _stop: stop.drop_guard() }
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.url))
    }

    pub async fn get(&self, path: &str) -> Response {
        self.request(Method::GET, path).send().await.unwrap()
    }
}

fn client() -> reqwest::Client {
    let headers = HeaderMap::from_iter([(AUTHORIZATION, format!("Bearer {TOKEN}").parse().unwrap())]);
    reqwest::Client::builder().no_proxy().default_headers(headers).build().unwrap()
}

/// An error's status and sentence; it has the form of all errors, and an id.
pub async fn refusal(response: Response) -> (u16, String) {
    let status = response.status().as_u16();
    assert_eq!(response.headers()[REQUEST_ID].len(), 32);
    let body: Value = response.json().await.unwrap();
    (status, body["detail"].as_str().unwrap().to_owned())
}
