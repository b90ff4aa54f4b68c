//! What reaches a service, and what comes back.

use axum::Router;
use axum::http::HeaderMap;
use reqwest::Method;
use serde_json::Value;
use shared::http::REQUEST_ID;

use crate::front::{Front, patient};
use crate::stub::service;

/// A service that answers with the headers that it saw, and some of its own.
async fn mirror() -> (Front, impl Drop) {
    let router = Router::new().fallback(async |headers: HeaderMap| {
        let seen: serde_json::Map<_, _> =
            headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().into())).collect();
        ([("connection", "x-inner"), ("x-inner", "1"), ("x-outer", "2")], Value::from(seen).to_string())
    });
    let (url, stop) = service(router).await;
    (Front::before(&url, patient()).await, stop)
}

#[tokio::test]
async fn nothing_forged_and_nothing_of_one_connection_passes() {
    let (front, _stop) = mirror().await;
    let request = front.request(Method::GET, "/api/servers").header("connection", "x-secret, x-muster-caller");
    let dropped = ["x-forwarded-for", "x-forwarded-host", "forwarded", "x-real-ip", "x-secret", "te", "keep-alive"];
    let request = dropped.iter().fold(request, |request, name| request.header(*name, "forged"));
    let answer = request.header("x-muster-caller", "root").header("x-mine", "kept").send().await.unwrap();
    assert_eq!(answer.headers().get("x-inner"), None);
    assert_eq!(answer.headers()["x-outer"], "2");
    let seen: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    assert!(dropped.iter().all(|name| seen[name].is_null()), "{seen}");
    assert_eq!((&seen["x-mine"], &seen["x-muster-caller"]), (&"kept".into(), &"token".into()));
    assert!(!seen["traceparent"].is_null());
}

#[tokio::test]
async fn a_service_sees_the_id_that_the_caller_gets() {
    let (front, _stop) = mirror().await;
    let forged = "0af7651916cd43dd8448eb211c80319c";
    let answer = front.request(Method::GET, "/api/tasks").header(REQUEST_ID, forged).send().await.unwrap();
    let id = answer.headers()[REQUEST_ID].to_str().unwrap().to_owned();
    let seen: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    assert!(id.len() == 32 && id != forged);
    assert_eq!(seen[REQUEST_ID.as_str()], id);
}
