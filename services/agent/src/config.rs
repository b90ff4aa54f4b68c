//! What an agent is started with, and where it keeps its things.

use std::path::{Path, PathBuf};

use shared::config::{self, Source, key};
use shared::contract::key::PlaneKey;
use shared::db::Disk;
use shared::error::{Error, Result};
use shared::sign::SigningKey;

use crate::enrolment;

/// Commands that run at one time unless told otherwise.
pub const RUNNING_MAX_DEFAULT: usize = 16;

/// Where an agent of a server keeps its things, unless `MUSTER_AGENT_DIR` says otherwise.
const FOLDER_DEFAULT: &str = "/var/lib/muster-agent";
/// The host's policy, unless `MUSTER_POLICY` names another file.
const POLICY_DEFAULT: &str = "/etc/muster/policy.toml";

/// The file of the server's private key.
const KEY_FILE: &str = "agent-key.pem";

/// The folder of a server's agent.
pub fn folder(source: &Source) -> PathBuf {
    source.get(key::AGENT_DIR).unwrap_or(FOLDER_DEFAULT).into()
}

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
    /// The policy may belong to the agent's own account; else it must be root's.
    pub policy_may_be_own: bool,
    /// Commands that run at one time; more wait.
    pub running_max: usize,
    /// Whether the key was made just now, so that an empty journal is no sign of a lost one.
    pub key_is_new: bool,
    /// What the folder lies on.
    pub disk: Disk,
}

impl Settings {
    /// Settings for the server `hostname` in `folder`, which is made for its owner alone.
    pub fn new(hostname: &str, folder: PathBuf, plane_keys: Vec<PlaneKey>) -> Result<Self> {
        config::make_dir(&folder).map_err(|error| {
            Error::unavailable(format!("the agent's folder {} cannot be used: {error}", folder.display()))
                .because(error)
        })?;
        Ok(Self {
            key_is_new: !folder.join(KEY_FILE).exists(),
            hostname: hostname.to_owned(),
            folder,
            plane_keys,
            policy: None,
            policy_may_be_own: false,
            running_max: RUNNING_MAX_DEFAULT,
            disk: Disk::Real,
        })
    }

    /// The settings of a server's agent that was enrolled.
    pub fn from_source(source: &Source) -> Result<Self> {
        let folder = folder(source);
        let is_known = folder.join(KEY_FILE).exists();
        let plane_keys = enrolment::pinned(&folder)?.filter(|_| is_known).ok_or_else(|| not_enrolled(&folder))?;
        let hostname = enrolment::hostname(&folder, source.get(key::HOSTNAME))?;
        Ok(Self { policy: Some(policy_path(source)), ..Self::new(hostname.as_str(), folder, plane_keys)? })
    }

    /// The server's key, made at the first start.
    pub fn key(&self) -> Result<SigningKey> {
        config::signing_key(&key_path(&self.folder))
    }

    pub(crate) fn journal_path(&self) -> PathBuf {
        journal_path(&self.folder)
    }
}

/// The server's private key.
pub fn key_path(folder: &Path) -> PathBuf {
    folder.join(KEY_FILE)
}

/// What the agent remembers.
pub fn journal_path(folder: &Path) -> PathBuf {
    folder.join("journal.db")
}

/// The host's policy.
pub fn policy_path(source: &Source) -> PathBuf {
    source.get(key::POLICY).unwrap_or(POLICY_DEFAULT).into()
}

fn not_enrolled(folder: &Path) -> Error {
    let folder = folder.display();
    Error::bad_input(format!(
        "this server is not enrolled ({folder} lacks its keys); run muster-agent enroll --url URL"
    ))
}
