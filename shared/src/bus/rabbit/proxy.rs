//! A wire to the broker that a test can freeze and cut.

use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::bus::fixture::broker_address;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    Open,
    /// Connections stay, and nothing moves.
    Frozen,
    /// Connections end at once, old ones and new ones.
    Cut,
}

/// A proxy on a port of its own, in front of the broker.
pub struct Proxy {
    pub port: u16,
    wire: Arc<watch::Sender<Wire>>,
}

impl Proxy {
    pub async fn start(wire: Wire) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let wire = Arc::new(watch::channel(wire).0);
        let heard = Arc::clone(&wire);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, heard.subscribe()));
            }
        });
        Self { port, wire }
    }

    pub fn set(&self, wire: Wire) {
        self.wire.send_replace(wire);
    }
}

async fn carry(client: TcpStream, mut wire: watch::Receiver<Wire>) {
    if *wire.borrow() == Wire::Cut {
        return;
    }
    let broker = TcpStream::connect(broker_address()).await.unwrap();
    let (from_client, to_client) = client.into_split();
    let (from_broker, to_broker) = broker.into_split();
    tokio::select! {
        () = copy(from_client, to_broker, wire.clone()) => {}
        () = copy(from_broker, to_client, wire.clone()) => {}
        _ = wire.wait_for(|wire| *wire == Wire::Cut) => {}
    }
}

async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut wire: watch::Receiver<Wire>) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let opened = wire.wait_for(|wire| *wire != Wire::Frozen).await.is_ok();
        if !opened || to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}
