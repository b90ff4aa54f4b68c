//! A way that can be cut: a TCP proxy of the test's own between the plane and its database or broker.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A proxy at work until it is dropped.
pub struct Proxy {
    pub address: SocketAddr,
    open: Arc<watch::Sender<bool>>,
}

impl Proxy {
    /// A way to `target`, open.
    pub async fn to(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let open = Arc::new(watch::Sender::new(true));
        let (target, is_open) = (target.to_owned(), open.subscribe());
        tokio::spawn(accept(listener, target, is_open));
        Self { address, open }
    }

    /// Breaks every connection, and refuses new ones.
    pub fn cut(&self) {
        self.open.send_replace(false);
    }

    /// Lets connections through again.
    pub fn mend(&self) {
        self.open.send_replace(true);
    }
}

async fn accept(listener: TcpListener, target: String, open: watch::Receiver<bool>) {
    let mut gone = open.clone();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = gone.wait_for(|_| false) => return, // only when the proxy is dropped
        };
        let Ok((client, _)) = accepted else { continue };
        if *open.borrow() {
            tokio::spawn(carry(client, target.clone(), open.clone()));
        }
    }
}

async fn carry(mut client: TcpStream, target: String, mut open: watch::Receiver<bool>) {
    let Ok(mut server) = TcpStream::connect(&target).await else { return };
    tokio::select! {
        _ = copy_bidirectional(&mut client, &mut server) => (),
        _ = open.wait_for(|open| !*open) => (),
    }
}
