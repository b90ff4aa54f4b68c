//! A connection that is kept open: what a pool of connections would hide shows here.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

pub struct Wire {
    address: SocketAddr,
    sender: SendRequest<Full<Bytes>>,
}

impl Wire {
    pub async fn open(address: SocketAddr) -> Self {
        Self { address, sender: connect(address).await }
    }

    /// Sends a request and reads the whole answer; a connection that ends unannounced is an error.
    pub async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<(StatusCode, HeaderMap, Bytes), String> {
        self.sender.ready().await.map_err(|error| format!("dropped after the answer before: {error}"))?;
        let answer = self.sender.send_request(request).await.map_err(|error| format!("dropped: {error:?}"))?;
        let (head, body) = answer.into_parts();
        let body = body.collect().await.map_err(|error| format!("broken off: {error}"))?.to_bytes();
        if head.headers.get(header::CONNECTION).is_some_and(|value| value == "close") {
            self.sender = connect(self.address).await;
        }
        Ok((head.status, head.headers, body))
    }
}

async fn connect(address: SocketAddr) -> SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}
