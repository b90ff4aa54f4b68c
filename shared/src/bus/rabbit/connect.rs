//! Making one connection, each step under a limit: lapin has none of its own for any of them.
//!
//! An attempt that got through to a peer which then says nothing cannot be taken back: lapin's thread
//! waits on its socket for as long as that is open. So after such an attempt the next ones first see
//! whether anybody answers there, and no more than one thread is left waiting.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lapin::tcp::AMQPUriTcpExt as _;
use lapin::uri::{AMQPScheme, AMQPUri};
use lapin::{Connection, ConnectionProperties};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::answer::{answer, away, trouble};
use super::settings::Target;
use crate::error::Result;

/// The longest that reaching the broker may take, TLS included. Shorter than an answer may take, so
/// that it is this which ends an attempt at a host that is away.
const REACH_WAIT: Duration = Duration::from_secs(5);
/// What a client of AMQP 0-9-1 says first.
const GREETING: &[u8] = b"AMQP\x00\x00\x09\x01";

/// Makes connections to one broker.
pub(super) struct Connector {
    pub target: Target,
    /// The last attempt reached somebody who said nothing.
    hung: AtomicBool,
}

impl Connector {
    pub fn new(target: Target) -> Self {
        Self { target, hung: AtomicBool::new(false) }
    }

    pub async fn connect(&self) -> Result<Connection> {
        if self.hung.load(Ordering::Relaxed) {
            limited(greeted(&self.target.uri)).await.map_err(away)?;
        }
        let outcome = answer(self.handshake()).await;
        self.hung.store(outcome.is_err(), Ordering::Relaxed);
        outcome?.map_err(trouble)
    }

    async fn handshake(&self) -> lapin::Result<Connection> {
        let Target { uri, tls, name, .. } = self.target.clone();
        let properties = ConnectionProperties::default().with_connection_name(name);
        let reach = async move |uri: AMQPUri, runtime| {
            limited(uri.connect_with_config_async(tls.as_ref(), &runtime)).await.map_err(lapin::Error::from)
        };
        Connection::connector(uri, lapin::runtime::default_runtime()?, reach, properties).await
    }
}

/// Whether something that speaks AMQP answers there. Over TLS the handshake, which has its limit,
/// has shown that already.
async fn greeted(uri: &AMQPUri) -> io::Result<()> {
    if uri.scheme == AMQPScheme::AMQPS {
        return Ok(());
    }
    let mut stream = TcpStream::connect((uri.authority.host.as_str(), uri.authority.port)).await?;
    stream.write_all(GREETING).await?;
    stream.read_u8().await.map(drop)
}

async fn limited<T>(step: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(REACH_WAIT, step).await?
}
