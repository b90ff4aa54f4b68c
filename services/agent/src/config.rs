//! What an agent is started with, and where it keeps its things.

use std::path::PathBuf;

use shared::config;
use shared::contract::key::PlaneKey;
use shared::error::{Error, Result};
use shared::sign::SigningKey;

/// Commands that run at one time unless told otherwise.
pub const RUNNING_MAX_DEFAULT: usize = 16;

/// What an agent is started with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The server's name.
    pub hostname: String,
    /// Where the agent keeps its key and its journal.
    pub folder: PathBuf,
    /// The plane's keys; commands of anybody else are not believed.
    pub plane_keys: Vec<PlaneKey>,
    /// The host's policy; without one the agent runs whatever its own account may.
    pub policy: Option<PathBuf>,
    /// Commands that run at one time; more wait.
    pub running_max: usize,
    /// Whether the key was made just now, so that an empty journal is no sign of a lost one.
    pub key_is_new: bool,
}

impl Settings {
    /// Settings for the server `hostname` in `folder`, which is made for its owner alone.
    pub fn new(hostname: &str, folder: PathBuf, plane_keys: Vec<PlaneKey>) -> Result<Self> {
        config::make_dir(&folder).map_err(|error| {
            Error::unavailable(format!("the agent's folder {} cannot be used: {error}", folder.display()))
                .because(error)
        })?;
        let key_is_new = !folder.join("agent-key.pem").exists();
        let hostname = hostname.to_owned();
        Ok(Self { hostname, folder, plane_keys, policy: None, running_max: RUNNING_MAX_DEFAULT, key_is_new })
    }

    /// The server's key, made at the first start.
    pub fn key(&self) -> Result<SigningKey> {
        config::signing_key(&self.folder.join("agent-key.pem"))
    }

    pub(crate) fn journal_path(&self) -> PathBuf {
        self.folder.join("journal.db")
    }
}
