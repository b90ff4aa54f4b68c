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
use tokio::sync::watch;
use tokio::time::Instant;

use super::answer::{ANSWER_WAIT, answer, away, trouble, within};
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
    /// For asking whether the broker is alive.
    probe: Channel,
}

impl Line {
    /// Asks for something that changes nothing, which only a broker that is alive answers.
    pub async fn ping(&self) -> Result<()> {
        within(self.probe.basic_qos(self.prefetch, BasicQosOptions::default())).await
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

type Current = Option<Arc<Line>>;

/// A connection that is remade when it is lost. Its task ends when this is dropped.
#[derive(Debug)]
pub(super) struct Link(watch::Receiver<Current>);

impl Link {
    pub fn open(target: Target) -> Self {
        let (current, receiver) = watch::channel(None);
        tokio::spawn(async move {
            tokio::select! {
                () = current.closed() => {}
                () = keep(Connector::new(target), &current) => {}
            }
        });
        Self(receiver)
    }

    /// The connection, if there is one at this moment.
    pub fn now(&self) -> Current {
        self.0.borrow().clone()
    }

    /// The connection, waiting a while for it.
    pub async fn line(&self) -> Result<Arc<Line>> {
        let mut current = self.0.clone();
        let found = tokio::time::timeout(ANSWER_WAIT, current.wait_for(Option::is_some)).await;
        let line = found.map_err(away)?.map_err(away)?.clone();
        line.ok_or_else(|| away("there is no connection"))
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
                current.send_replace(Some(Arc::clone(&line)));
                lost(&line.connection).await;
                current.send_replace(None);
                failures = if since.elapsed() < GOOD_AFTER { failures } else { 0 };
                told = tell(told && failures > 0, &away("the connection was lost"));
            }
            Err(error) => told = tell(told, &error),
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
    let probe = within(connection.create_channel()).await?;
    let prefetch = connector.target.prefetch();
    Ok(Arc::new(Line { connection, publishers: Publishers::default(), prefetch, probe }))
}

/// Returns when the connection is of no more use.
async fn lost(connection: &Connection) {
    let mut events = std::pin::pin!(connection.events_listener());
    while connection.status().connected() {
        // Whatever it was, heard or not, the state tells.
        drop(tokio::time::timeout(LOOK_EVERY, events.next()).await);
    }
}
