//! The connection over time: one task makes it, watches it, and makes the next one.
//!
//! At most one attempt is under way. Between attempts it waits with full jitter, so that a thousand
//! agents do not return together. The log has one line when the broker goes and one when it is back.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use lapin::options::BasicQosOptions;
use lapin::protocol::constants::REPLY_SUCCESS;
use lapin::types::ShortString;
use lapin::{Channel, Connection, ErrorKind};
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;

use super::answer::{ANSWER_WAIT, answer, away, trouble, why, within};
use super::connect::Connector;
use super::plan;
use super::publish::Publishers;
use super::settings::{Role, Target};
use crate::error::{Error, Result, chain};
use crate::rules::backoff::Backoff;

/// Between two attempts to connect.
const RECONNECT: Backoff = Backoff { first: Duration::from_millis(500), most: Duration::from_secs(10) };
/// A connection that lasts so long was a good one; after a shorter one the waits go on growing.
const GOOD_AFTER: Duration = Duration::from_secs(30);
/// How often a connection's state is looked at, besides whenever something is heard of it.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// One connection, and what is kept open on it.
#[derive(Debug)]
pub(super) struct Line {
    pub connection: Connection,
    pub publishers: Publishers,
    pub prefetch: u16,
    /// For declarations, and for asking whether the broker is alive.
    steering: Mutex<Channel>,
}

impl Line {
    /// Asks for something that changes nothing, which only a broker that is alive answers.
    pub async fn ping(&self) -> Result<()> {
        within(self.steering().await?.basic_qos(self.prefetch, BasicQosOptions::default())).await
    }

    /// The channel for what is neither publishing nor consuming. A refusal closes it; then there is
    /// another one.
    pub async fn steering(&self) -> Result<Channel> {
        let mut kept = self.steering.lock().await;
        if !kept.status().connected() {
            *kept = self.channel().await?;
        }
        Ok(kept.clone())
    }

    /// Opens a channel. lapin 4.12 does not give back the place of a channel that is closed, whoever
    /// closes it; once all are used up this connection is given up for the next one.
    pub async fn channel(&self) -> Result<Channel> {
        let opened = answer(self.connection.create_channel()).await?;
        if opened.as_ref().is_err_and(|error| matches!(error.kind(), ErrorKind::ChannelsLimitReached)) {
            tracing::info!("the channels of this connection are used up; connecting anew");
            answer(self.connection.close(REPLY_SUCCESS, ShortString::default())).await?.map_err(trouble)?;
        }
        opened.map_err(trouble)
    }
}

/// What there is at this moment.
#[derive(Clone, Debug)]
enum Current {
    Line(Arc<Line>),
    /// There is no connection, and this is why.
    None(String),
}

/// A connection that is remade when it is lost. Its task ends when this is dropped.
#[derive(Debug)]
pub(super) struct Link(watch::Receiver<Current>);

impl Link {
    pub fn open(target: Target) -> Self {
        let (current, receiver) = watch::channel(Current::None("there is no connection yet".to_owned()));
        tokio::spawn(async move {
            tokio::select! {
                () = current.closed() => {}
                () = keep(Connector::new(target), &current) => {}
            }
        });
        Self(receiver)
    }

    /// The connection, if there is one at this moment.
    pub fn now(&self) -> Result<Arc<Line>> {
        match &*self.0.borrow() {
            Current::Line(line) => Ok(Arc::clone(line)),
            Current::None(why) => Err(away(why.clone())),
        }
    }

    /// The connection, waiting a while for it.
    pub async fn line(&self) -> Result<Arc<Line>> {
        let mut current = self.0.clone();
        let there = current.wait_for(|current| matches!(current, Current::Line(_)));
        drop(tokio::time::timeout(ANSWER_WAIT, there).await); // in time or not, a look tells
        self.now()
    }
}

/// Holds a connection for as long as anybody wants one.
async fn keep(connector: Connector, current: &watch::Sender<Current>) {
    let (mut failures, mut told) = (0, false);
    loop {
        match line(&connector).await {
            Ok(line) => {
                tracing::info!("connected to the broker");
                let since = Instant::now();
                current.send_replace(Current::Line(Arc::clone(&line)));
                lost(&line.connection).await;
                current.send_replace(Current::None("the connection was lost".to_owned()));
                failures = if since.elapsed() < GOOD_AFTER { failures } else { 0 };
                told = tell(told && failures > 0, &away("the connection was lost"));
            }
            Err(error) => {
                current.send_replace(Current::None(why(&error)));
                told = tell(told, &error);
            }
        }
        failures += 1;
        tokio::time::sleep(RECONNECT.wait(failures)).await;
    }
}

/// Logs that the broker is away, unless that was told already.
fn tell(told: bool, error: &Error) -> bool {
    if !told {
        tracing::warn!(cause = chain(error), "the broker is away; connecting again until it is back");
    }
    true
}

async fn line(connector: &Connector) -> Result<Arc<Line>> {
    let connection = connector.connect().await?;
    if connector.target.role == Role::Plane {
        plan::declare(&connection).await?;
    }
    let steering = Mutex::new(within(connection.create_channel()).await?);
    let prefetch = connector.target.prefetch();
    Ok(Arc::new(Line { connection, publishers: Publishers::default(), prefetch, steering }))
}

/// Returns when the connection is of no more use.
async fn lost(connection: &Connection) {
    let mut events = std::pin::pin!(connection.events_listener());
    while connection.status().connected() {
        // Whatever it was, heard or not, the state tells.
        drop(tokio::time::timeout(LOOK_EVERY, events.next()).await);
    }
}
