//! A way that can be cut, frozen, slowed down and torn: a TCP proxy of the test's own between the
//! plane and its database or broker. Proxies have threads of their own: a test that waits for a
//! process blocks its runtime, and what it waits for may need the way.

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

/// What carries all proxies.
static CARRIER: LazyLock<Runtime> =
    LazyLock::new(|| Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap());

/// Bytes that are carried at a time.
const PIECE_BYTES: usize = 16 * 1024;
/// The same on a slow way, and how long each piece takes: 10 KiB a second with 100 ms of latency.
const SLOW_PIECE_BYTES: usize = 1024;
const SLOW_PIECE: Duration = Duration::from_millis(100);

/// What a way does to its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// It carries them.
    Open,
    /// It breaks every connection, and refuses new ones.
    Cut,
    /// Connections stay, new ones too, and nothing moves: a half-open way.
    Frozen,
    /// It carries little at a time.
    Slow,
    /// Half of the next piece arrives, in the middle of a frame as a rule, and then the connection is gone.
    Torn,
}

/// A proxy at work until it is dropped.
pub struct Proxy {
    pub address: SocketAddr,
    way: Arc<watch::Sender<Way>>,
}

impl Proxy {
    /// A way to `target`, open.
    pub async fn to(target: &str) -> Self {
        let listening = CARRIER.spawn(TcpListener::bind("127.0.0.1:0"));
        let listener = listening.await.unwrap().unwrap();
        let address = listener.local_addr().unwrap();
        let way = Arc::new(watch::Sender::new(Way::Open));
        CARRIER.spawn(accept(listener, target.to_owned(), way.subscribe()));
        Self { address, way }
    }

    /// Changes the way, for the connections that there are and for new ones.
    pub fn set(&self, way: Way) {
        self.way.send_replace(way);
    }

    /// Breaks every connection, and refuses new ones.
    pub fn cut(&self) {
        self.set(Way::Cut);
    }

    /// Lets connections through again.
    pub fn mend(&self) {
        self.set(Way::Open);
    }
}

async fn accept(listener: TcpListener, target: String, way: watch::Receiver<Way>) {
    let mut gone = way.clone();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = gone.wait_for(|_| false) => return, // only when the proxy is dropped
        };
        let Ok((client, _)) = accepted else { continue };
        if *way.borrow() != Way::Cut {
            tokio::spawn(carry(client, target.clone(), way.clone()));
        }
    }
}

async fn carry(client: TcpStream, target: String, mut way: watch::Receiver<Way>) {
    let Ok(server) = TcpStream::connect(&target).await else { return };
    // Else small pieces would wait for each other's acknowledgement.
    if client.set_nodelay(true).and_then(|()| server.set_nodelay(true)).is_err() {
        return; // it is gone already
    }
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        () = copy(from_client, to_server, way.clone()) => (),
        () = copy(from_server, to_client, way.clone()) => (),
        _ = way.wait_for(|way| *way == Way::Cut) => (),
    }
}

/// Carries one direction until it ends or breaks; then its connection is over.
async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut way: watch::Receiver<Way>) {
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let most = if *way.borrow() == Way::Slow { SLOW_PIECE_BYTES } else { PIECE_BYTES };
        let Ok(count @ 1..) = from.read(&mut piece[..most]).await else { return };
        let Ok(way) = way.wait_for(|way| *way != Way::Frozen).await.map(|way| *way) else { return };
        let carried = if way == Way::Torn { count / 2 } else { count };
        if way == Way::Slow {
            tokio::time::sleep(SLOW_PIECE).await;
        }
        if to.write_all(&piece[..carried]).await.is_err() || way == Way::Torn {
            return;
        }
    }
}
