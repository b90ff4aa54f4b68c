//! `muster up`: the embedded plane, for keeps. Everything that it keeps is in one folder; stopping
//! and starting again on the same folder loses nothing.

use std::net::SocketAddr;
use std::path::PathBuf;

use shared::config::keep::{DAYS_MAX, Keep, TASKS_DAYS_DEFAULT, TASKS_MAX_DEFAULT, TASKS_MAX_MAX};
use shared::config::{self, LISTEN_DEFAULT};
use shared::error::{Error, Result};
use shared::name::Hostname;
use shared::run::Termination;
use shared::{metrics, telemetry};
use solo::{Plane, Settings};

use crate::exit::Exit;
use crate::terminal::Out;

/// The most local agents.
const AGENTS_MAX: i64 = 100;

/// Runs a control plane in this process, with local agents, and keeps everything in one folder
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  muster up
  muster up --data-dir ./plane --agents 3
  muster up --listen 0.0.0.0:8080 --api-token-file /etc/muster/token
  muster up --keep-tasks-days 365 --keep-output-days 30

Without an API token it listens on loopback only. Ctrl-C stops it; starting it again on the same
folder takes up whatever was left undone.")]
pub struct Args {
    /// Address and port to listen on
    #[arg(long, env = "MUSTER_LISTEN", default_value = LISTEN_DEFAULT)]
    listen: SocketAddr,
    /// Folder to keep everything in [default: $XDG_DATA_HOME/muster or ~/.local/share/muster]
    #[arg(long, env = "MUSTER_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// Local agents: one is named after this host, several local-1, local-2 and so on
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(i64).range(0..=AGENTS_MAX))]
    agents: i64,
    /// Policy file that the local agents obey; without one they run what this account may
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Token that callers must send; rather set MUSTER_API_TOKEN, because others can read a command line
    #[arg(long, env = "MUSTER_API_TOKEN", hide_env_values = true)]
    api_token: Option<String>,
    /// File that holds the token
    #[arg(long, value_name = "FILE", env = "MUSTER_API_TOKEN_FILE")]
    api_token_file: Option<PathBuf>,
    /// Days that a task is kept; 0 for no limit
    #[arg(long, value_name = "DAYS", env = "MUSTER_KEEP_TASKS_DAYS", default_value_t = TASKS_DAYS_DEFAULT, value_parser = up_to(DAYS_MAX))]
    keep_tasks_days: u64,
    /// Tasks that are kept, the newest of them; 0 for no limit
    #[arg(long, value_name = "TASKS", env = "MUSTER_KEEP_TASKS_MAX", default_value_t = TASKS_MAX_DEFAULT, value_parser = up_to(TASKS_MAX_MAX))]
    keep_tasks_max: u64,
    /// Days that a command's output is kept; 0 for as long as its task
    #[arg(long, value_name = "DAYS", env = "MUSTER_KEEP_OUTPUT_DAYS", default_value_t = 0, value_parser = up_to(DAYS_MAX))]
    keep_output_days: u64,
}

fn up_to(max: u64) -> clap::builder::RangedU64ValueParser {
    clap::value_parser!(u64).range(0..=max)
}

/// Starts the plane, says so in one line, and runs until it is told to stop.
pub async fn run(args: Args) -> Result<Exit> {
    let telemetry = telemetry::init("muster", "warn");
    metrics::install()?;
    let mut termination = Termination::listen()?;
    let settings = args.settings()?;
    let (folder, agents) = (settings.plane.data_dir.clone(), settings.agents.join(", "));
    let plane = Plane::start(settings).await?;
    let with = if agents.is_empty() { "no local agents".to_owned() } else { format!("agents: {agents}") };
    Out::stdout().line(&format!(
        "muster is ready at http://{} ({with}; data in {})",
        plane.address(),
        folder.display()
    ))?;
    termination.asked().await;
    plane.stop().await;
    telemetry.flush().await;
    Ok(Exit::Success)
}

impl Args {
    fn settings(self) -> Result<Settings> {
        let api_token = self.api_token.filter(|token| !token.is_empty()); // an empty variable is no token
        let plane = config::Settings {
            listen: self.listen,
            data_dir: self.data_dir.map_or_else(default_folder, Ok)?,
            api_token: config::token(api_token, self.api_token_file.as_deref())?,
        };
        let keep = Keep::new(self.keep_tasks_days, self.keep_tasks_max, self.keep_output_days);
        Ok(Settings { plane, agents: names(self.agents)?, policy: self.policy, keep })
    }
}

fn default_folder() -> Result<PathBuf> {
    let from = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let share = from("XDG_DATA_HOME").or_else(|| from("HOME").map(|home| home.join(".local/share")));
    share
        .map(|share| share.join("muster"))
        .ok_or_else(|| Error::bad_input("neither HOME nor XDG_DATA_HOME is set; choose a folder with --data-dir"))
}

fn names(agents: i64) -> Result<Vec<String>> {
    if agents != 1 {
        return Ok((1..=agents).map(|n| format!("local-{n}")).collect());
    }
    let host = nix::unistd::gethostname().map_err(Error::internal)?;
    let host = Hostname::parse("the name of this host", &host.to_string_lossy())?;
    Ok(vec![host.as_str().to_owned()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_agent_is_named_after_the_host_and_several_are_numbered() {
        assert_eq!(names(3).unwrap(), ["local-1", "local-2", "local-3"]);
        assert!(names(0).unwrap().is_empty());
        assert_eq!(names(1).unwrap().len(), 1);
    }
}
