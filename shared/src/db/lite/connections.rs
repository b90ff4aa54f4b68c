//! The connections of a file. Not sqlx's pool: that sends a ping after every use, a trip of its own
//! during which the only writer is taken, and a file does not hang up.

use std::sync::{Arc, Mutex as Lock, MutexGuard as LockGuard, PoisonError};
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Connection as _, Error};
use tokio::sync::{Mutex, OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::disk::{Busy, Place};

/// How long a caller waits for a connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);

/// The one connection that writes; whoever asks first has it first.
#[derive(Clone, Debug)]
pub struct Writer {
    state: Arc<Mutex<State>>,
    place: Place,
}

#[derive(Debug)]
struct State {
    /// `None` once it is closed.
    connection: Option<SqliteConnection>,
    /// A transaction was begun and not ended: whoever is next undoes it first.
    begun: bool,
}

impl Writer {
    pub fn new(connection: SqliteConnection, place: Place) -> Self {
        let state = State { connection: Some(connection), begun: false };
        Self { state: Arc::new(Mutex::new(state)), place }
    }

    pub async fn lock(&self) -> sqlx::Result<WriterGuard> {
        let lock = timeout(ACQUIRE_TIMEOUT, Arc::clone(&self.state).lock_owned()).await;
        let state = lock.map_err(|_| Error::PoolTimedOut)?;
        let mut guard = WriterGuard { state, _busy: self.place.busy() };
        if guard.state.begun {
            // Fails when SQLite undid it by itself, or its commit was done and only the answer missed.
            let _ = sqlx::query("rollback").execute(guard.connection()?).await;
            guard.state.begun = false;
        }
        Ok(guard)
    }

    pub async fn close(&self) {
        if let Some(connection) = self.state.lock().await.connection.take()
            && let Err(error) = connection.close().await
        {
            tracing::warn!(%error, "a database was not closed cleanly");
        }
    }
}

/// The writing connection while somebody has it.
#[derive(Debug)]
pub struct WriterGuard {
    state: OwnedMutexGuard<State>,
    _busy: Busy,
}

impl WriterGuard {
    pub fn connection(&mut self) -> sqlx::Result<&mut SqliteConnection> {
        self.state.connection.as_mut().ok_or(Error::PoolClosed)
    }

    /// Notes that a transaction is open from now on, or that it has ended.
    pub fn set_begun(&mut self, begun: bool) {
        self.state.begun = begun;
    }
}

/// The connections that read, opened when they are first needed.
#[derive(Debug)]
pub struct Readers {
    options: SqliteConnectOptions,
    idle: Lock<Vec<SqliteConnection>>,
    places: Arc<Semaphore>,
    most: u32,
    place: Place,
}

impl Readers {
    pub fn new(options: SqliteConnectOptions, most: u32, place: Place) -> Self {
        Self { options, idle: Lock::default(), places: Arc::new(Semaphore::new(most as usize)), most, place }
    }

    pub async fn take(readers: &Arc<Self>) -> sqlx::Result<Reader> {
        let place = timeout(ACQUIRE_TIMEOUT, Arc::clone(&readers.places).acquire_owned()).await;
        let place = place.map_err(|_| Error::PoolTimedOut)?.map_err(|_| Error::PoolClosed)?;
        let busy = readers.place.busy();
        let idle = readers.idle().pop();
        let connection = match idle {
            Some(connection) => connection,
            None => readers.options.connect().await?,
        };
        Ok(Reader { connection: Some(connection), readers: Arc::clone(readers), _place: place, _busy: busy })
    }

    fn idle(&self) -> LockGuard<'_, Vec<SqliteConnection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner) // a list is sound whatever panicked
    }

    pub fn is_closed(&self) -> bool {
        self.places.is_closed()
    }

    pub async fn close(&self) {
        let all = timeout(ACQUIRE_TIMEOUT, self.places.acquire_many(self.most)).await;
        self.places.close();
        drop(all);
        let idle = std::mem::take(&mut *self.idle());
        for connection in idle {
            if let Err(error) = connection.close().await {
                tracing::warn!(%error, "a database was not closed cleanly");
            }
        }
    }
}

/// A reading connection while somebody has it.
#[derive(Debug)]
pub struct Reader {
    /// `None` only while it is dropped.
    connection: Option<SqliteConnection>,
    readers: Arc<Readers>,
    _place: OwnedSemaphorePermit,
    _busy: Busy,
}

impl Reader {
    pub fn connection(&mut self) -> sqlx::Result<&mut SqliteConnection> {
        self.connection.as_mut().ok_or(Error::PoolClosed)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.readers.idle().extend(self.connection.take());
    }
}
