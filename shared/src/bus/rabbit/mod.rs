//! The bus of the real stack: RabbitMQ 3.10 to 4.x.
//!
//! A bus holds one connection, made and remade in the background (`link`), so that a service starts
//! and accepts work while the broker is away. Nothing of lapin's own recovery is used: it keeps
//! publishers waiting until the broker is back, and a consumer may fall silent in it. Here a lost
//! connection is an error at once for whoever uses it, who then asks for the next one.
//!
//! The plane declares exchanges and queues (`plan`) after every connection; an agent declares
//! nothing, and its user needs only to write to `muster.reports` and to read its own queue.

mod answer;
mod connect;
#[cfg(test)]
mod faults;
mod link;
mod plan;
#[cfg(test)]
#[path = "../../../../tests/it/proxy.rs"]
#[expect(dead_code, reason = "shared with the tests of the whole")]
mod proxy;
mod publish;
mod settings;
mod subscription;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use lapin::protocol::constants::REPLY_SUCCESS;
use lapin::types::ShortString;

use self::answer::away;
use self::link::Link;
pub use self::settings::{Role, Settings};
pub use self::subscription::Subscription;
pub(crate) use self::wire::death;
use super::topology::agent_queue;
use super::{Delivery, Message, Receipt};
use crate::error::{Error, Result};

/// How long a probe may take: an orchestrator waits for its answer.
const PING_WAIT: Duration = Duration::from_secs(2);

/// A bus on RabbitMQ. Cheap to clone; the connection closes with the last clone and subscription.
#[derive(Clone, Debug)]
pub struct RabbitBus(Arc<Link>);

impl RabbitBus {
    /// Takes the settings and starts to connect in the background, within the runtime it is called
    /// in. Only the CA's file is read here.
    ///
    /// # Errors
    /// Bad input when a setting cannot be used; that the broker is away is none.
    pub fn open(settings: &Settings) -> Result<Self> {
        Ok(Self(Arc::new(Link::open(settings.target()?))))
    }

    pub(super) async fn publish(&self, messages: Vec<Message>) -> Vec<Result<Receipt>> {
        let count = messages.len();
        let published = async { publish::batch(&*self.0.line().await?, wire::outgoing(messages)?).await };
        published.await.unwrap_or_else(|error| publish::each_failed(count, &error))
    }

    pub(super) async fn declare(&self, hostname: &str) -> Result<()> {
        plan::declare_agent(&*self.0.line().await?, hostname).await
    }

    pub(super) async fn delete(&self, hostname: &str) -> Result<()> {
        plan::delete(&*self.0.line().await?, &agent_queue(hostname)).await
    }

    pub(super) async fn subscribe(&self, queue: &str) -> Result<Subscription> {
        Subscription::start(self.0.line().await?, queue).await
    }

    pub(super) async fn bury(&self, queue: &str, delivery: &Delivery, reason: &str) -> Result<()> {
        let letter = wire::dead_letter(delivery, queue, reason)?;
        publish::dead_letters(&*self.0.line().await?, vec![letter]).await
    }

    pub(super) async fn ping(&self) -> Result<()> {
        let line = self.0.now()?;
        tokio::time::timeout(PING_WAIT, line.ping()).await.map_err(away)?
    }
}

/// Connects once, logs in, and looks whether a queue is there, without taking hold of it; for finding out
/// what is wrong.
///
/// # Errors
/// Bad input when a setting cannot be used; otherwise the broker cannot be reached or refuses, and the
/// cause says how.
pub async fn look(settings: &Settings, queue: &str) -> Result<bool> {
    let connection = connect::Connector::new(settings.target()?).connect().await?;
    let found = plan::is_there(&connection, queue).await;
    // As good as it can be done: the process that asked is about to end.
    _ = answer::answer(connection.close(REPLY_SUCCESS, ShortString::default())).await;
    found
}

/// A queue that is not there.
fn gone(queue: &str) -> Error {
    Error::not_found(format!("there is no queue `{queue}`; register the server first"))
}
