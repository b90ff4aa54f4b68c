//! A service alone in a process: an axum server with its consumers and chores, until a signal.

use std::process::ExitCode;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{Bell, Context, Service, Workers};
use crate::bus::{Bus, LocalBus};
use crate::clock::Clock;
use crate::config::Settings;
use crate::db::Db;
use crate::error::{Error, Kind, Result, chain};
use crate::http::{guard, layers, serve};
use crate::lock::Lock;
use crate::telemetry;

/// The exit status for settings that cannot be used.
const USAGE: u8 = 2;

/// Runs a service until it is told to stop.
pub fn main<F>(name: &'static str, build: F) -> ExitCode
where
    F: AsyncFnOnce(Context, &Settings) -> Result<Service>,
{
    telemetry::init("info");
    let outcome = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime.block_on(run(build)),
        Err(error) => Err(Error::internal(error)),
    };
    let Err(error) = outcome else { return ExitCode::SUCCESS };
    tracing::error!(service = name, cause = chain(&error), "stopped");
    if error.kind() == Kind::BadInput { ExitCode::from(USAGE) } else { ExitCode::FAILURE }
}

async fn run(build: impl AsyncFnOnce(Context, &Settings) -> Result<Service>) -> Result<()> {
    let termination = Termination::listen()?;
    let settings = Settings::from_env()?;
    let admitted = settings.guard()?;
    let listener = serve::bind(settings.listen).await?;
    let _lock = Lock::take(settings.make_data_dir()?, "plane.lock")?;
    let db = settings.database().await?;
    let Db::Lite(lite) = &db;
    let bus = Bus::Local(LocalBus::open(lite.clone(), Clock::System).await?);
    let ctx = Context { db: db.clone(), bus: bus.clone(), clock: Clock::System, bell: Bell::default() };
    let service = build(ctx, &settings).await?;
    let router = service.router(db.clone()).layer(axum::middleware::from_fn_with_state(admitted, guard::layer));
    let workers = Workers::default();
    tracing::warn!("this process has a bus of its own, which no other process can reach");
    tracing::info!(service = service.name, listen = %settings.listen, "ready");
    workers.start(service, &bus);
    let stop = CancellationToken::new();
    let told = stop.clone();
    let served = tokio::spawn(serve::serve(listener, layers::around(router), stop));
    termination.asked().await;
    told.cancel();
    served.await.map_err(Error::internal)?;
    workers.stop().await;
    db.close().await;
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
    pub async fn asked(mut self) {
        tokio::select! {
            _ = self.0.recv() => (),
            _ = self.1.recv() => (),
        }
    }
}
