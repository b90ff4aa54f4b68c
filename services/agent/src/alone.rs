//! The agent in a process of its own: the server's name comes from `MUSTER_HOSTNAME`, the plane's
//! keys from `plane-keys.json` in the data folder, in the form in which `GET /api/signing-keys`
//! answers. Without a host policy such an agent refuses everything.

use shared::config;
use shared::error::{Error, Result};
use shared::name::Hostname;
use shared::run::{Context, Service};

use crate::exec::{Exec, Limits, Process};
use crate::{Agent, Settings};

/// The host's policy, unless `MUSTER_POLICY` names another file.
const POLICY_DEFAULT: &str = "/etc/muster/policy.toml";

/// Builds the agent that the environment describes.
pub async fn alone(ctx: Context, settings: &config::Settings) -> Result<Service> {
    let name = std::env::var("MUSTER_HOSTNAME").unwrap_or_default();
    let hostname = Hostname::parse("MUSTER_HOSTNAME", &name)?;
    let path = settings.data_dir.join("plane-keys.json");
    let unusable = |error: &dyn std::fmt::Display| {
        Error::bad_input(format!(
            "{} must hold the plane's keys as GET /api/signing-keys gives them: {error}",
            path.display()
        ))
    };
    let text = std::fs::read_to_string(&path).map_err(|error| unusable(&error))?;
    let keys = serde_json::from_str(&text).map_err(|error| unusable(&error))?;
    let mut own = Settings::new(hostname.as_str(), settings.data_dir.clone(), keys)?;
    own.policy = Some(std::env::var_os("MUSTER_POLICY").map_or_else(|| POLICY_DEFAULT.into(), Into::into));
    let exec = Exec::Process(Process::new(Limits::default()));
    Ok(Agent::open(own, ctx.bus, ctx.clock, exec).await?.service())
}
