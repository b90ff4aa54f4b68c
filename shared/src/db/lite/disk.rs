//! What a SQLite file lies on: the machine's disk, or one that a test makes fail. A failing disk can
//! be full; it can end its user at a chosen write, just before or just after it, as `kill -9` would;
//! and it knows how much of the log a power cut would leave.
//!
//! How a power cut is told: the file is opened without checkpoints, so all that was ever committed
//! lies in the log (`-wal`), in order. A hard commit syncs the log, and with it everything before;
//! soft commits behind it may be lost. So [`Faulty::durable_bytes`] is the log's length at the last
//! hard commit, and a copy of the log cut there is what a power cut leaves at worst.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sqlx::Error;
use tokio::sync::Notify;

/// A disk.
#[derive(Clone, Debug, Default)]
pub enum Disk {
    /// The machine's.
    #[default]
    Real,
    /// One that fails when it is told to.
    Faulty(Faulty),
}

/// When its user ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// Before the write: nothing of it is there.
    Before,
    /// After the write: it is there, and nobody learned of it.
    After,
}

/// A disk that fails when it is told to. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Faulty(Arc<Inner>);

/// Whether the program that is at work just now has ended. Shared by all the disks that it writes to:
/// what is dead writes nowhere.
#[derive(Clone, Debug, Default)]
pub struct Halt(Arc<(AtomicBool, Notify)>);

#[derive(Debug)]
struct Inner {
    halt: Halt,
    plan: Mutex<Plan>,
    /// Connections that somebody has.
    busy: AtomicUsize,
    /// Writes that have begun and not ended.
    writing: AtomicUsize,
    durable: AtomicU64,
}

#[derive(Debug, Default)]
struct Plan {
    is_full: bool,
    /// After how many more writes, and when.
    crash: Option<(u32, Crash)>,
}

impl Halt {
    /// Whether it has ended.
    pub fn is_set(&self) -> bool {
        self.0.0.load(Ordering::SeqCst)
    }

    /// Waits until it has ended.
    pub async fn ended(&self) {
        let ended = self.0.1.notified();
        tokio::pin!(ended);
        ended.as_mut().enable(); // from here on no end is missed
        if !self.is_set() {
            ended.await;
        }
    }

    /// Lets the next program live.
    pub fn clear(&self) {
        self.0.0.store(false, Ordering::SeqCst);
    }

    async fn set(&self) {
        self.0.0.store(true, Ordering::SeqCst);
        self.0.1.notify_waiters();
        std::future::pending().await
    }
}

impl Faulty {
    /// A disk of which a power cut would leave `durable` bytes of the log.
    pub fn new(halt: Halt, durable: u64) -> Self {
        let durable = AtomicU64::new(durable);
        let (plan, busy, writing) = (Mutex::default(), AtomicUsize::new(0), AtomicUsize::new(0));
        Self(Arc::new(Inner { halt, plan, busy, writing, durable }))
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.0.plan.lock().unwrap_or_else(PoisonError::into_inner) // plain values are sound whatever panicked
    }

    /// Whether every write fails for want of room.
    pub fn set_full(&self, is_full: bool) {
        self.plan().is_full = is_full;
    }

    /// Whether it is full.
    pub fn is_full(&self) -> bool {
        self.plan().is_full
    }

    /// Ends its user at a write: 0 is the next one.
    pub fn crash_at(&self, write: u32, when: Crash) {
        self.plan().crash = Some((write, when));
    }

    /// Forgets about the crash. Returns whether it was still to come.
    pub fn spare(&self) -> bool {
        self.plan().crash.take().is_some()
    }

    /// Whether nobody has a connection.
    pub fn is_idle(&self) -> bool {
        self.0.busy.load(Ordering::SeqCst) == 0
    }

    /// Whether nothing is on its way to the file.
    pub fn is_still(&self) -> bool {
        self.0.writing.load(Ordering::SeqCst) == 0
    }

    /// How much of the log a power cut would leave at worst, in bytes.
    pub fn durable_bytes(&self) -> u64 {
        self.0.durable.load(Ordering::SeqCst)
    }

    /// The crash that is due with this write.
    fn due(&self) -> Option<Crash> {
        let mut plan = self.plan();
        let (writes, when) = plan.crash?;
        plan.crash = (writes > 0).then(|| (writes - 1, when));
        (writes == 0).then_some(when)
    }

    async fn write<T>(
        &self,
        log: &Path,
        is_hard: bool,
        write: impl Future<Output = sqlx::Result<T>>,
    ) -> sqlx::Result<T> {
        if self.0.halt.is_set() {
            self.0.halt.set().await;
        }
        if self.is_full() {
            return Err(Error::Io(std::io::ErrorKind::StorageFull.into()));
        }
        let crash = self.due();
        if crash == Some(Crash::Before) {
            self.0.halt.set().await;
        }
        self.0.writing.fetch_add(1, Ordering::SeqCst);
        let outcome = write.await;
        self.0.writing.fetch_sub(1, Ordering::SeqCst);
        if is_hard && outcome.is_ok() {
            self.0.durable.store(std::fs::metadata(log)?.len(), Ordering::SeqCst);
        }
        if crash == Some(Crash::After) {
            self.0.halt.set().await;
        }
        outcome
    }
}

/// Where a file lies.
#[derive(Clone, Debug)]
pub(super) struct Place {
    disk: Disk,
    log: PathBuf,
}

/// Held by whoever has a connection.
#[derive(Debug)]
pub(super) struct Busy(Option<Faulty>);

impl Place {
    pub fn new(disk: &Disk, path: &Path) -> Self {
        let mut log = path.as_os_str().to_owned();
        log.push("-wal");
        Self { disk: disk.clone(), log: log.into() }
    }

    /// Lets a write be done, as far as the disk lets it.
    pub async fn write<T>(&self, is_hard: bool, write: impl Future<Output = sqlx::Result<T>>) -> sqlx::Result<T> {
        match &self.disk {
            Disk::Real => write.await,
            Disk::Faulty(faulty) => faulty.write(&self.log, is_hard, write).await,
        }
    }

    /// Notes that somebody has a connection.
    pub fn busy(&self) -> Busy {
        let Disk::Faulty(faulty) = &self.disk else { return Busy(None) };
        faulty.0.busy.fetch_add(1, Ordering::SeqCst);
        Busy(Some(faulty.clone()))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        if let Some(faulty) = &self.0 {
            faulty.0.busy.fetch_sub(1, Ordering::SeqCst);
        }
    }
}
