//! Sockets: HTTP/1.1 with a limit on connections and on how long a request's head may take, which
//! `axum::serve` has no switch for; and a stop that lets requests in flight finish.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::response::Response;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower::{Service, ServiceExt as _};

use super::Peer;
use crate::error::{Error, Result};

/// Connections open at one time; more wait to be accepted.
const CONNECTIONS_MAX: usize = 4_096;
/// How long a request's head may take to arrive.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long requests in flight may take to finish at a stop.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// How long to wait after an accept failed, for instance for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Binds an address.
///
/// # Errors
/// A sentence that says whether the port is in use or the address not ours.
pub async fn bind(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        let detail = match error.kind() {
            std::io::ErrorKind::AddrInUse => {
                format!("{address} is in use; stop what listens there or choose another port with --listen")
            }
            std::io::ErrorKind::PermissionDenied => {
                format!("{address} may not be listened on; choose a port above 1023 with --listen")
            }
            std::io::ErrorKind::AddrNotAvailable => {
                format!("{address} is not an address of this machine; choose one with --listen")
            }
            _ => format!("{address} cannot be listened on: {error}"),
        };
        Error::unavailable(detail).because(error)
    })
}

/// Serves until `stop`, then lets requests in flight finish, for a limited time.
pub async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) {
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    while let Some(accepted) = stop.run_until_cancelled(accept(&listener, &places)).await {
        let Some((stream, peer, place)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(seen_from(peer, router.clone())));
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended early"); // the peer's doing
            }
            drop(place);
        });
    }
    drop(listener);
    if tokio::time::timeout(DRAIN_TIMEOUT, graceful.shutdown()).await.is_err() {
        tracing::warn!("some requests did not finish in time");
    }
}

/// Tells the router where its requests come from.
fn seen_from(
    peer: Peer,
    router: Router,
) -> impl Service<Request<Incoming>, Response = Response, Error = Infallible, Future: Send> + Clone {
    router.map_request(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        request
    })
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, Peer, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, from)) => {
            stream.set_nodelay(true).ok(); // best effort: only latency is at stake
            Some((stream, Peer(from.ip().to_canonical()), place))
        }
        Err(error) => {
            tracing::warn!(%error, "a connection could not be accepted");
            None
        }
    }
}
