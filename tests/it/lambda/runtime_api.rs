//! The runtime API of AWS Lambda, as far as a function meets it: it asks for the next event, and hands
//! in what came of it. <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::Value;
use shared::clock::Clock;
use shared::http::serve::serve;
use shared::id;
use tokio::net::TcpListener;
use tokio::sync::{Mutex as AsyncMutex, mpsc, oneshot};

/// How long the functions may take, as `deploy/template.yaml` has it.
const FUNCTION_TIMEOUT: Duration = Duration::from_secs(30);

/// What a function made of an event: its answer, or its error.
pub type Outcome = Result<Value, Value>;

/// The runtime API of one function.
#[derive(Clone)]
pub struct RuntimeApi(Arc<Inner>);

struct Inner {
    address: SocketAddr,
    events: mpsc::UnboundedSender<(String, Value)>,
    waiting: AsyncMutex<mpsc::UnboundedReceiver<(String, Value)>>,
    asked: Mutex<HashMap<String, oneshot::Sender<Outcome>>>,
}

impl RuntimeApi {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (events, waiting) = mpsc::unbounded_channel();
        let address = listener.local_addr().unwrap();
        let api = Self(Arc::new(Inner { address, events, waiting: AsyncMutex::new(waiting), asked: Mutex::default() }));
        let router = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route("/2018-06-01/runtime/invocation/{id}/{outcome}", post(outcome))
            .with_state(api.clone());
        tokio::spawn(serve(listener, router, Default::default()));
        api
    }

    pub fn address(&self) -> String {
        self.0.address.to_string()
    }

    /// Hands an event to the function and waits for what comes of it.
    pub async fn invoke(&self, event: Value) -> Outcome {
        let (id, (answer, answered)) = (id::random(), oneshot::channel());
        self.0.asked.lock().unwrap().insert(id.clone(), answer);
        self.0.events.send((id, event)).unwrap();
        tokio::time::timeout(FUNCTION_TIMEOUT, answered).await.unwrap().unwrap()
    }
}

async fn next(State(api): State<RuntimeApi>) -> Response {
    let (id, event) = api.0.waiting.lock().await.recv().await.unwrap();
    let deadline = Clock::System.now().plus(FUNCTION_TIMEOUT).0.to_string();
    let headers = [
        ("lambda-runtime-aws-request-id", id.as_str()),
        ("lambda-runtime-deadline-ms", &deadline),
        ("lambda-runtime-invoked-function-arn", "arn:aws:lambda:eu-west-1:123456789012:function:test"),
    ];
    (headers, Json(event)).into_response()
}

async fn outcome(
    State(api): State<RuntimeApi>,
    Path((id, outcome)): Path<(String, String)>,
    body: Bytes,
) -> StatusCode {
    let body = serde_json::from_slice(&body).unwrap();
    let outcome = if outcome == "response" { Ok(body) } else { Err(body) };
    let answer = api.0.asked.lock().unwrap().remove(&id).unwrap();
    drop(answer.send(outcome)); // the test may be over
    StatusCode::ACCEPTED
}
