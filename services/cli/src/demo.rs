//! `muster demo`: the main job on one screen. A fresh plane in a temporary folder, three real agents,
//! one signed command to all of them, and the same checks of what came back that an auditor makes.
//! It goes through the front door, over HTTP, like everybody else.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Instant;

use clap::ArgAction;
use shared::config::{self, Keep};
use shared::contract::task::{NewCommand, TargetType};
use shared::error::{Error, Result};
use shared::http::client::Client;
use shared::sign::PublicKey;
use shared::telemetry;
use solo::{Plane, Settings};
use tempfile::TempDir;

use crate::exit::Exit;
use crate::plane::Session;
use crate::run::{self, send_and_follow};
use crate::verify;

/// The demo's servers.
const HOSTNAMES: [&str; 3] = ["demo-1", "demo-2", "demo-3"];

/// Shows the main job: a fresh control plane, three agents, a signed command, verified results
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  muster demo
  muster demo uptime
  muster demo 'echo hello from $MUSTER_HOSTNAME'

Everything happens on this machine, in a temporary folder that is removed at the end. The commands
run as you.

Exit status: 0 every agent succeeded and every signature holds; 1 otherwise; 2 and 3 as for every
command.")]
pub struct Args {
    /// Text for `/bin/sh -c`; several words are joined by blanks
    #[arg(default_value = "uname -a", action = ArgAction::Append, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

/// Starts everything, does the job, checks it, and clears up.
pub async fn run(args: Args) -> Result<Exit> {
    let telemetry = telemetry::init("muster-demo", "error");
    let folder = tempfile::tempdir().map_err(|error| {
        Error::unavailable("the demo needs a temporary folder; set TMPDIR to one that can be written").because(error)
    })?;
    let settings = settings(&folder);
    let start = Instant::now();
    let plane = Plane::start(settings.clone()).await?;
    let client = Client::new(&format!("http://{}", plane.address()), None)?;
    let mut session = Session::people(client);
    let took = start.elapsed().as_millis();
    session.out.line(&format!("started a control plane at http://{} in {took} ms", plane.address()))?;
    session.out.line(&format!("registered {} with a key of its own each", HOSTNAMES.join(", ")))?;
    let outcome = show(&mut session, args.command.join(" "), settings.plane.signing_key()?.public()).await;
    plane.stop().await;
    telemetry.flush().await;
    outcome
}

fn settings(folder: &TempDir) -> Settings {
    let plane = config::Settings {
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        data_dir: folder.path().to_owned(),
        api_token: None,
    };
    Settings { plane, agents: HOSTNAMES.map(str::to_owned).to_vec(), policy: None, keep: Keep::default() }
}

async fn show(session: &mut Session, command: String, plane: &PublicKey) -> Result<Exit> {
    session.out.line(&format!("sending `{command}` to all of them, signed"))?;
    session.out.line("")?;
    let target_type = TargetType::All;
    let command = NewCommand {
        target_type,
        target: None,
        command,
        timeout: None,
        user: None,
        expires_in: None,
        max_concurrency: None,
        max_errors: None,
        rollout_expires_in: None,
    };
    let start = Instant::now();
    let picture = send_and_follow(session, &command).await?;
    let took = start.elapsed().as_millis();
    let report = verify::of_task(session, &picture.task.task_id, Some(plane)).await?;
    session.out.line("")?;
    session.out.line(&format!("{} in {took} ms", run::summary(&picture.task)))?;
    session.out.line(&format!("signatures: {}", verify::summary(&report)))?;
    session.out.line("")?;
    session.out.line("next: `muster up` keeps a control plane; then try `muster run --all -- uptime`")?;
    let verdict = run::verdict(&picture.task);
    Ok(if report.holds { verdict } else { Exit::Shortfall })
}
