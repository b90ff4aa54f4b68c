//! A service alone in a process: an axum server with its consumers and chores, until a signal. It stops
//! in two stages: first nothing new comes in and requests in flight are answered, then consumers and
//! chores end what they have begun. What they leave undone is still in the database or the broker.

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::ExitCode;

use axum::middleware::from_fn_with_state;
use clap::{Arg, ArgAction, Command};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{Boot, Service, Workers, lambda, ready};
use crate::config::key;
use crate::error::{Error, Kind, Result, chain};
use crate::http::{guard, layers, serve};
use crate::{metrics, telemetry};

/// The exit status for settings that cannot be used.
const USAGE: u8 = 2;

/// The option that asks instead of serving.
const READY: &str = "ready";

/// What a service's program is called and does.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// Its name.
    pub name: &'static str,
    /// What it does, in one line.
    pub about: &'static str,
    /// Where it listens unless told otherwise.
    pub listen: SocketAddr,
}

/// Runs a service until it is told to stop; on AWS Lambda, for as long as events come.
pub fn main<F>(program: Program, build: F) -> ExitCode
where
    F: AsyncFnOnce(&mut Boot) -> Result<Service>,
{
    let asked = command(program).get_matches();
    if asked.get_flag(READY) {
        return is_ready(program);
    }
    let telemetry = telemetry::init(program.name, "info");
    let outcome = match tokio::runtime::Runtime::new() {
        Ok(runtime) if lambda::is_lambda() => {
            runtime.block_on(lambda::run(program, build, async || telemetry.flush().await))
        }
        Ok(runtime) => runtime.block_on(async {
            let outcome = run(program, build).await;
            telemetry.flush().await;
            outcome
        }),
        Err(error) => Err(Error::internal(error)),
    };
    let Err(error) = outcome else { return ExitCode::SUCCESS };
    tracing::error!(service = program.name, cause = chain(&error), "stopped");
    if error.kind() == Kind::BadInput { ExitCode::from(USAGE) } else { ExitCode::FAILURE }
}

/// The command line: `--help`, which tells the settings, `--version` and `--ready`.
fn command(program: Program) -> Command {
    let ready = Arg::new(READY).long(READY).action(ArgAction::SetTrue);
    Command::new(program.name)
        .version(env!("CARGO_PKG_VERSION"))
        .about(program.about)
        .arg(ready.help("Asks the one that runs here whether it is ready: 0 is yes"))
        .after_help(format!(
            "Settings, from the environment or from the file that MUSTER_CONFIG names:\n{}",
            settings(program.name)
        ))
}

fn is_ready(program: Program) -> ExitCode {
    let asked = Boot::load(program.name).and_then(|boot| boot.listen(program.listen)).and_then(ready::ask);
    let Err(error) = asked else { return ExitCode::SUCCESS };
    // When even standard error is closed there is nobody left to tell.
    _ = writeln!(std::io::stderr(), "{}: {}", program.name, error.detail());
    ExitCode::FAILURE
}

fn settings(program: &str) -> String {
    let read = key::ALL.iter().filter(|key| key.read_by.contains(&program));
    let line = |key: &key::Key| {
        let default = key.default.map(|default| format!(" [default: {default}]")).unwrap_or_default();
        format!("  {:<29}{}{default}\n", key.name, key.meaning)
    };
    read.map(line).collect()
}

async fn run(program: Program, build: impl AsyncFnOnce(&mut Boot) -> Result<Service>) -> Result<()> {
    metrics::install()?;
    let mut termination = Termination::listen()?;
    let mut boot = Boot::load(program.name)?;
    let listen = boot.listen(program.listen)?;
    let admitted = boot.guard(listen)?;
    let listener = serve::bind(listen).await?;
    let service = tokio::select! {
        service = build(&mut boot) => service?,
        () = termination.asked() => return Ok(()), // while it waited for the database
    };
    let parts = boot.parts();
    let bus = parts.bus.clone();
    let workers = Workers::default();
    let router = service.router(parts.clone()).layer(from_fn_with_state(admitted, guard::layer));
    let name = service.name;
    tracing::info!(service = name, %listen, "ready");
    workers.start(service, bus.as_ref());
    let stop = CancellationToken::new();
    let served = tokio::spawn(serve::serve(listener, layers::around(name, router), stop.clone()));
    termination.asked().await;
    stop.cancel();
    served.await.map_err(Error::internal)?;
    workers.stop().await;
    parts.close().await;
    Ok(())
}

/// Somebody asks the process to end. Listened for before anybody is told that it is ready: a signal
/// that nobody listens for ends a process at once.
#[derive(Debug)]
pub struct Termination(Signal, Signal);

impl Termination {
    /// Begins to listen.
    pub fn listen() -> Result<Self> {
        let listen = |kind| signal(kind).map_err(Error::internal);
        Ok(Self(listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?))
    }

    /// Waits until it is asked.
    pub async fn asked(&mut self) {
        tokio::select! {
            _ = self.0.recv() => (),
            _ = self.1.recv() => (),
        }
    }
}
