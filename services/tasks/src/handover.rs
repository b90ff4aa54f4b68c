//! The handover: commands that were just accepted reach this process's own relay without a detour
//! through the database.
//!
//! Their rows in the outbox are born leased, in the transaction that accepts them; once that holds, the
//! relay is handed what they say. It saves a commit and three looks, and is a shortcut only: the rows
//! are the truth. What is handed over to a relay that dies is sent by another one when the lease has
//! run out. So nothing is handed over that might expire by then, nor to a relay that does not come or
//! could not send what it had; such rows wait in the outbox, where any relay finds them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use shared::clock::Time;
use shared::contract::envelope::Proof;
use shared::id;
use shared::store::outbox::Leased;
use shared::store::wave::Signed;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes of commands, each counted for each of its servers, that may wait for the relay.
const BYTES_MAX: usize = 4 * 1024 * 1024;
/// What a message counts besides its command: signature, proof and what else is around it.
const AROUND_BYTES: usize = 2 * 1024;
/// How long a lease holds; longer than any publish may take.
pub const LEASE: Duration = Duration::from_secs(30);
/// What is left of a lease at least when its rows are published.
const LEFT_MIN: Duration = Duration::from_secs(15);
/// How long something may have waited for the relay when more is handed over.
const WAIT_MAX: Duration = Duration::from_secs(1);

/// The way from those who accept commands to the relay of the same process. Clones are the same way.
#[derive(Clone, Debug)]
pub struct Handover(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// A relay takes what is handed over, and could send what it took the last time.
    is_open: AtomicBool,
    room: Arc<Semaphore>,
    parcels: Mutex<Vec<Parcel>>,
}

/// Room for one wave, and the lease under which its rows are born.
#[derive(Debug)]
pub struct Place {
    pub lease: String,
    since: Time,
    _room: OwnedSemaphorePermit,
}

impl Place {
    /// When the lease runs out.
    pub fn until(&self) -> Time {
        self.since.plus(LEASE)
    }
}

/// A wave on its way to the relay: its rows, each with its server's proof, and what was signed.
#[derive(Debug)]
pub struct Parcel {
    pub place: Place,
    pub wave: Signed,
    pub rows: Vec<(Leased, Proof)>,
}

impl Default for Handover {
    fn default() -> Self {
        let room = Arc::new(Semaphore::new(BYTES_MAX));
        Self(Arc::new(Inner { is_open: AtomicBool::new(false), room, parcels: Mutex::default() }))
    }
}

impl Handover {
    /// Room for a command of so many bytes to so many servers, if it can be handed over now.
    pub fn place(&self, bytes: usize, servers: usize, now: Time, expires_at: Time) -> Option<Place> {
        let is_late = |parcel: &Parcel| parcel.place.since.plus(WAIT_MAX) < now;
        let is_taken = self.0.is_open.load(Ordering::Relaxed) && !self.parcels().first().is_some_and(is_late);
        if !is_taken || servers == 0 || expires_at < now.plus(LEASE * 2) {
            return None;
        }
        let bytes = u32::try_from((bytes + AROUND_BYTES).checked_mul(servers)?).ok()?;
        let room = Arc::clone(&self.0.room).try_acquire_many_owned(bytes).ok()?;
        Some(Place { lease: id::random(), since: now, _room: room })
    }

    /// Hands a wave over whose rows are stored. The relay has to be rung for.
    pub fn put(&self, parcel: Parcel) {
        self.parcels().push(parcel);
    }

    /// Says whether the relay could send what it had, and so whether it shall be handed more.
    pub fn open(&self, is_open: bool) {
        self.0.is_open.store(is_open, Ordering::Relaxed);
    }

    /// Takes all that was handed over and is leased for a while yet.
    pub fn take(&self, now: Time) -> Vec<Parcel> {
        let mut parcels = std::mem::take(&mut *self.parcels());
        parcels.retain(|parcel| now.plus(LEFT_MIN) <= parcel.place.until());
        parcels
    }

    fn parcels(&self) -> MutexGuard<'_, Vec<Parcel>> {
        self.0.parcels.lock().unwrap_or_else(PoisonError::into_inner) // a list is sound whatever panicked
    }
}
