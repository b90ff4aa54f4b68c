//! What a service of its own process is built from: its settings, and the connections that it asks
//! for. A service that asks for none has none, so each holds no more rights than it needs.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::{Bell, Context, probe};
use crate::bus::Bus;
use crate::bus::rabbit::Role;
use crate::clock::Clock;
use crate::config::key::{
    API_TOKEN, DATABASE_CA_FILE, DATABASE_CONNECTIONS, DATABASE_URL, Key, LISTEN, SIGNING_KEY, SIGNING_KEY_FILE,
};
use crate::config::{self, Source};
use crate::db::{Db, My, my};
use crate::error::{Error, Kind, Result, chain};
use crate::http::guard::Guard;
use crate::rules::backoff::Backoff;
use crate::sign::SigningKey;

/// How often a database that is away is tried at the start: for about a minute. Then the process ends,
/// and whatever watches over it starts it again.
const DATABASE_TRIES_MAX: u32 = 15;
/// The fewest and the most connections that may be asked for.
const CONNECTIONS: std::ops::RangeInclusive<u32> = 2..=1_000;

/// A service on its way to being built.
#[derive(Debug)]
pub struct Boot {
    /// The program's name.
    name: &'static str,
    settings: Source,
    db: Option<Db>,
    bus: Option<Bus>,
}

impl Boot {
    /// Reads the settings.
    pub fn load(name: &'static str) -> Result<Self> {
        Ok(Self { name, settings: Source::load()?, db: None, bus: None })
    }

    /// The settings.
    pub const fn settings(&self) -> &Source {
        &self.settings
    }

    /// Where to listen; `default` when the settings do not say.
    pub fn listen(&self, default: SocketAddr) -> Result<SocketAddr> {
        Ok(self.settings.parse(LISTEN, "an address and a port, like 127.0.0.1:8080")?.unwrap_or(default))
    }

    /// Who may come in at `listen`.
    pub fn guard(&self, listen: SocketAddr) -> Result<Guard> {
        config::guard(self.settings.secret(API_TOKEN)?.as_deref(), listen)
    }

    /// The database, once it answers and has the schema that this program knows.
    pub async fn database(&mut self) -> Result<Db> {
        let db = database(&self.settings)?;
        let mut tries = 1;
        while let Err(error) = db.check().await {
            if error.kind() != Kind::Unavailable || tries == DATABASE_TRIES_MAX {
                return Err(error);
            }
            tracing::warn!(cause = chain(&error), "waiting for the database");
            tokio::time::sleep(Backoff::WORK.wait(tries).max(Duration::from_millis(100))).await;
            tries += 1;
        }
        self.db = Some(db.clone());
        Ok(db)
    }

    /// Database and broker. The broker may be away: it is connected to in the background.
    pub async fn context(&mut self) -> Result<Context> {
        let bus = super::broker(&self.settings, Role::Plane, self.name)?;
        self.bus = Some(bus.clone());
        let db = self.database().await?;
        Ok(Context { db, bus, clock: Clock::System, bell: Bell::default() })
    }

    /// The plane's signing key: the one that was given, or that of the file, made when it is missing.
    pub fn signing_key(&self) -> Result<Arc<SigningKey>> {
        if let Some(pem) = self.settings.get(SIGNING_KEY) {
            let wrong = |_| Error::bad_input(format!("{} must be a private RSA key in PKCS#8 PEM", SIGNING_KEY.name));
            return SigningKey::from_pem(pem).map(Arc::new).map_err(wrong);
        }
        config::signing_key(Path::new(self.settings.need(SIGNING_KEY_FILE)?)).map(Arc::new)
    }

    /// An address of another service.
    pub fn url(&self, key: Key) -> &str {
        self.settings.get(key).or(key.default).unwrap_or_default()
    }

    /// What the probes look at, and what has to be closed at the end.
    pub(super) fn parts(&self) -> probe::Parts {
        probe::Parts { db: self.db.clone(), bus: self.bus.clone() }
    }
}

/// The database of the settings, not yet connected to.
pub fn database(settings: &Source) -> Result<Db> {
    let form = format!("a whole number from {} to {}", CONNECTIONS.start(), CONNECTIONS.end());
    let connections = settings.parse(DATABASE_CONNECTIONS, &form)?.unwrap_or(my::CONNECTIONS_DEFAULT);
    if !CONNECTIONS.contains(&connections) {
        return Err(Error::bad_input(format!("{} must be {form}", DATABASE_CONNECTIONS.name)));
    }
    let settings = my::Settings {
        url: settings.need_secret(DATABASE_URL)?,
        ca_file: settings.get(DATABASE_CA_FILE).map(Into::into),
        connections,
    };
    My::open(&settings).map(Db::My)
}
