//! The agent: runs on a server what the plane signed, and signs what came of it.
//!
//! The way of a command through the agent is one file each: `gate` decides what is believed and
//! allowed, `journal` remembers it before anybody is told, `work` runs it, `report` says and signs
//! what came of it, `spool` brings that to the broker. Nothing is acknowledged before it is on the
//! disk, and nothing that had started is ever started again.

mod args;
mod config;
mod doctor;
mod enroll;
mod enrolment;
pub mod exec;
mod gate;
mod heartbeat;
mod journal;
mod load;
mod notify;
mod policy;
mod report;
mod run;
mod spool;
mod state;
mod work;

use std::sync::Arc;
use std::time::Duration;

use shared::bus::{Bus, Consumer, topology};
use shared::clock::Clock;
use shared::contract::key::PlaneKey;
use shared::contract::signed::PLANE;
use shared::error::Result;
use shared::lock::Lock;
use shared::rules::limits::HEARTBEAT_EVERY;
use shared::run::{Bell, Chore, Service};
use shared::sign::{KeyState, PublicKey, SigningKey, TrustedKey};
use tokio::sync::OnceCell;

pub use args::main;
pub use config::Settings;
use exec::{Account, Exec};
use journal::{Boot, Journal};
use load::Sampler;
use policy::Policy;
use state::State;

/// Commands taken from the broker at a time.
const BATCH_MAX: usize = 128;
/// How often the spool is tried without being rung for.
const SPOOL_EVERY: Duration = Duration::from_secs(5);
/// How often the journal forgets what no message can be about any more.
const TIDY_EVERY: Duration = Duration::from_secs(3_600);

/// An agent. Cheap to clone: all clones are the same agent.
#[derive(Clone)]
pub struct Agent(Arc<Inner>);

struct Inner {
    hostname: String,
    bus: Bus,
    clock: Clock,
    exec: Exec,
    /// The account that the agent itself runs as.
    account: Account,
    key: SigningKey,
    plane: Vec<TrustedKey>,
    policy: Policy,
    journal: Journal,
    boot: Boot,
    /// The journal is open, and all that the last run left has been taken up.
    is_ready: OnceCell<()>,
    running_max: usize,
    state: State,
    load: Sampler,
    spool_bell: Bell,
    _lock: Lock,
}

impl Agent {
    /// Opens the agent's folder and takes up where its last run ended: what had been accepted will
    /// run if it is still in time, what had started is ended and reported as interrupted.
    ///
    /// # Errors
    /// The folder or the key cannot be used. A journal that cannot be used is none: the agent then
    /// runs nothing, says so in each heartbeat, and tries again until it can.
    pub async fn open(settings: Settings, bus: Bus, clock: Clock, exec: Exec) -> Result<Self> {
        let lock = Lock::take(&settings.folder, "agent.lock")?;
        let key = settings.key()?;
        let journal = Journal::new(settings.journal_path(), settings.disk.clone(), settings.key_is_new);
        let now = clock.now();
        let boot = match journal.open(now).await {
            Ok(()) => journal.next_boot(now).await,
            Err(error) => Err(error),
        };
        let agent = Self(Arc::new(Inner {
            plane: settings.plane_keys.iter().map(trusted).collect::<Result<_>>()?,
            hostname: settings.hostname,
            bus,
            clock,
            exec,
            account: Account::current().map_err(shared::error::Error::internal)?,
            key,
            policy: Policy::new(settings.policy, settings.policy_may_be_own),
            journal,
            // Without a journal nobody knows of the runs before, and the clock must do.
            boot: boot.unwrap_or_else(|_| Boot::unrecorded(now)),
            is_ready: OnceCell::new(),
            running_max: settings.running_max,
            state: State::default(),
            load: Sampler::default(),
            spool_bell: Bell::default(),
            _lock: lock,
        }));
        _ = agent.mend().await; // best effort, and tried again with every heartbeat
        Ok(agent)
    }

    /// Its public key, for the plane.
    pub fn public_key(&self) -> &PublicKey {
        self.0.key.public()
    }

    /// How many reports the broker does not have yet.
    pub fn spooled(&self) -> usize {
        self.0.journal.spool_size().0
    }

    /// The agent as a service.
    pub fn service(&self) -> Service {
        let consumer = Consumer::new(topology::agent_queue(&self.0.hostname), BATCH_MAX, Arc::new(self.clone()));
        let chores = vec![
            self.chore("heartbeat", HEARTBEAT_EVERY, Bell::default(), Self::heartbeat),
            self.chore("spool", SPOOL_EVERY, self.0.spool_bell.clone(), Self::flush),
            self.chore("tidy", TIDY_EVERY, Bell::default(), Self::tidy),
        ];
        Service { name: "agent", routes: axum::Router::new(), consumers: vec![consumer], chores }
    }

    fn chore<F>(&self, name: &'static str, every: Duration, bell: Bell, step: fn(Self) -> F) -> Chore
    where
        F: Future<Output = Result<bool>> + Send + 'static,
    {
        let agent = self.clone();
        Chore { name, every, bell, work: Arc::new(move || Box::pin(step(agent.clone()))) }
    }

    /// Forgets what no message can be about any more.
    async fn tidy(self) -> Result<bool> {
        if self.mend().await.is_err() {
            return Ok(false); // said once, and in every heartbeat
        }
        self.0.journal.forget().await.map(|()| false)
    }

    /// Waits for running commands, for a limited time, and tries to hand in what is spooled. What
    /// still runs then is reported as interrupted by the next run of the agent.
    pub async fn finish(&self, grace: Duration) {
        if !self.0.state.drain(grace).await {
            tracing::warn!(hostname = self.0.hostname, "some commands still run; they will be reported as interrupted");
        }
        if let Err(error) = self.clone().flush().await {
            tracing::info!(cause = shared::error::chain(&error), "the spool is handed in at the next start");
        }
        self.0.journal.close().await;
    }
}

fn trusted(key: &PlaneKey) -> Result<TrustedKey> {
    Ok(TrustedKey {
        owner: PLANE.to_owned(),
        key: PublicKey::from_pem(&key.public_key_pem)?,
        algorithm: key.algorithm,
        state: KeyState::Active,
    })
}
