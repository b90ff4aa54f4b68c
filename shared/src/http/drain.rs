//! What is left of a request's body once its answer is known. When a connection closes on a peer
//! that is still sending, its system resets the connection, and the answer may be lost with it. So
//! the rest is read and dropped first, within limits, whatever the answer is.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use futures::StreamExt as _;
use hyper::body::{Body as _, Frame, SizeHint};

/// How much is read and dropped.
const DRAIN_BYTES_MAX: usize = 8 * 1024 * 1024;
/// How long that may take.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Lends the body to whoever answers, and drains what they leave.
pub async fn layer(request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let lent = Lent(Arc::new(Mutex::new(body)));
    let response = next.run(Request::from_parts(parts, Body::new(lent.clone()))).await;
    drain(lent.take_back()).await;
    response
}

async fn drain(body: Body) {
    if body.is_end_stream() {
        return;
    }
    let read = async {
        let (mut stream, mut seen) = (body.into_data_stream(), 0);
        while let Some(Ok(chunk)) = stream.next().await {
            seen += chunk.len();
            if seen > DRAIN_BYTES_MAX {
                break;
            }
        }
    };
    tokio::time::timeout(DRAIN_TIMEOUT, read).await.ok(); // best effort: the answer stands either way
}

/// A body that can be taken back; for whom it was lent to, it ends there.
#[derive(Clone)]
struct Lent(Arc<Mutex<Body>>);

impl Lent {
    fn with<T>(&self, use_it: impl FnOnce(&mut Body) -> T) -> T {
        use_it(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn take_back(self) -> Body {
        self.with(std::mem::take)
    }
}

impl hyper::body::Body for Lent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.with(|body| Pin::new(body).poll_frame(cx))
    }

    fn is_end_stream(&self) -> bool {
        self.with(|body| body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.with(|body| body.size_hint())
    }
}
