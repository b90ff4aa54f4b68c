//! The connections to the server. Not sqlx's pool: that sends a ping after every use, a trip of its own
//! for each statement. Here a connection is asked before its use, and only if it was idle; and one on
//! which anything was left open is closed instead of being given back.

use std::sync::{Arc, Mutex as Lock, MutexGuard as LockGuard, PoisonError};
use std::time::{Duration, Instant};

use sqlx::mysql::{MySqlConnectOptions, MySqlConnection};
use sqlx::{ConnectOptions as _, Connection as _, Error, Executor as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::{Timed, late};

/// How long a caller waits for a connection to be free, and for a new one to be made.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection that was idle for longer is tried before it is used: it may be dead.
const TRUSTED_IDLE: Duration = Duration::from_secs(1);
/// What each connection is told first. A statement waits for another transaction's locks for 10 s,
/// which is less than it may take as a whole.
const SESSION: [&str; 2] =
    ["set session transaction isolation level read committed", "set session innodb_lock_wait_timeout = 10"];

/// The connections, made when they are first needed.
#[derive(Debug)]
pub struct Connections {
    options: MySqlConnectOptions,
    idle: Lock<Vec<(MySqlConnection, Instant)>>,
    places: Arc<Semaphore>,
    most: u32,
}

impl Connections {
    pub fn new(options: MySqlConnectOptions, most: u32) -> Self {
        Self { options, idle: Lock::default(), places: Arc::new(Semaphore::new(most as usize)), most }
    }

    /// A connection that was alive a moment ago.
    pub async fn take(connections: &Arc<Self>) -> sqlx::Result<Held> {
        let place = timeout(ACQUIRE_TIMEOUT, Arc::clone(&connections.places).acquire_owned()).await;
        let place = place.map_err(|_| Error::PoolTimedOut)?.map_err(|_| Error::PoolClosed)?;
        let connection = match connections.alive().await {
            Some(connection) => connection,
            None => timeout(ACQUIRE_TIMEOUT, connections.connect()).await.map_err(|_| late())??,
        };
        Ok(Held { connection: Some(connection), connections: Arc::clone(connections), in_use: false, _place: place })
    }

    /// An idle connection, the one used last; those that turn out to be dead are dropped.
    async fn alive(&self) -> Option<MySqlConnection> {
        loop {
            let (mut connection, since) = self.idle().pop()?;
            if since.elapsed() < TRUSTED_IDLE || matches!(timeout(ACQUIRE_TIMEOUT, connection.ping()).await, Ok(Ok(())))
            {
                return Some(connection);
            }
        }
    }

    async fn connect(&self) -> sqlx::Result<MySqlConnection> {
        let mut connection = self.options.connect().await?;
        for statement in SESSION {
            connection.execute(statement).await?;
        }
        Ok(connection)
    }

    fn idle(&self) -> LockGuard<'_, Vec<(MySqlConnection, Instant)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner) // a list is sound whatever panicked
    }

    /// Closes every connection, once those in use are given back.
    pub async fn close(&self) {
        let all = timeout(ACQUIRE_TIMEOUT, self.places.acquire_many(self.most)).await;
        self.places.close();
        drop(all);
        let idle = std::mem::take(&mut *self.idle());
        for (connection, _) in idle {
            // Best effort: the server notices by itself when a connection is gone.
            drop(timeout(ACQUIRE_TIMEOUT, connection.close()).await);
        }
    }
}

/// A connection while somebody has it.
#[derive(Debug)]
pub struct Held {
    /// `None` once it is closed or given back.
    connection: Option<MySqlConnection>,
    connections: Arc<Connections>,
    /// A statement was begun whose outcome nobody has judged.
    in_use: bool,
    _place: OwnedSemaphorePermit,
}

impl Held {
    /// The connection itself, for a statement whose outcome is then judged.
    pub fn connection(&mut self) -> sqlx::Result<&mut MySqlConnection> {
        self.in_use = true;
        self.connection.as_mut().ok_or_else(late)
    }

    /// Takes the outcome of a statement; a connection whose answer is still to come, or which broke,
    /// is closed.
    pub fn judge<T>(&mut self, outcome: Timed<T>) -> sqlx::Result<T> {
        self.in_use = false;
        let outcome = outcome.unwrap_or_else(|_| Err(late()));
        // The server answered, or a value did not fit; anything else concerns the connection.
        let answered = matches!(
            outcome,
            Ok(_) | Err(Error::Database(_) | Error::RowNotFound | Error::ColumnDecode { .. } | Error::Decode(_))
        );
        if !answered {
            self.close();
        }
        outcome
    }

    /// Hangs up; the server undoes what was open.
    pub fn close(&mut self) {
        self.connection = None;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take().filter(|_| !self.in_use) {
            self.connections.idle().push((connection, Instant::now()));
        }
    }
}
