//! The embedded plane: every service in one process, over SQLite and the in-process bus, with local
//! agents. It is the same services, the same gateway and the same contract as the deployed plane;
//! only the drivers behind the seams differ.

mod enrol;
mod local_agent;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use axum::Router;
use axum::middleware::from_fn_with_state;
use gateway::{Limits, Upstream, Upstreams};
use shared::bus::{Bus, LocalBus};
use shared::clock::Clock;
use shared::config::{self, Keep};
use shared::db::Db;
use shared::error::{Error, Result};
use shared::http::{guard, layers, observe, serve};
use shared::lock::Lock;
use shared::metrics;
use shared::run::probe::Parts;
use shared::run::{Bell, Context, Service, Workers};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use local_agent::LocalAgent;

/// How long running commands may take to end at a stop; after that they are reported as interrupted.
const AGENTS_GRACE: Duration = Duration::from_secs(5);

/// What an embedded plane is started with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where it listens, keeps everything, and whom it lets in.
    pub plane: config::Settings,
    /// The hostnames of its local agents.
    pub agents: Vec<String>,
    /// The policy that its agents obey; without one they run what this account may.
    pub policy: Option<PathBuf>,
    /// What it keeps of the past.
    pub keep: Keep,
}

/// An embedded plane at work.
pub struct Plane {
    address: SocketAddr,
    db: Db,
    stop: CancellationToken,
    served: tokio::task::JoinHandle<()>,
    workers: Workers,
    agents: Vec<LocalAgent>,
    _lock: Lock,
}

impl Plane {
    /// Starts everything. When it returns, the plane answers and its agents are enrolled.
    ///
    /// # Errors
    /// A sentence that says what to do: the port is in use, the folder cannot be used or belongs to
    /// a running plane, the database is damaged or newer than this program.
    pub async fn start(settings: Settings) -> Result<Self> {
        let admitted = settings.plane.guard()?;
        let listener = serve::bind(settings.plane.listen).await?;
        let address = listener.local_addr().map_err(Error::internal)?;
        let lock = Lock::take(settings.plane.make_data_dir()?, "plane.lock")?;
        let lite = settings.plane.database().await?;
        let db = Db::Lite(lite.clone());
        let bus = Bus::Local(LocalBus::open(lite, Clock::System).await?);
        let ctx = Context { db: db.clone(), bus, clock: Clock::System, bell: Bell::default() };
        let workers = Workers::default();
        let front = front(&ctx, &settings, &workers).await?;
        let agents = local_agent::start_all(&settings, &ctx, &front).await;
        let stop = CancellationToken::new();
        let router = layers::around("gateway", front.layer(from_fn_with_state(admitted, guard::layer)));
        let served = serve_until(listener, router, stop.clone());
        Ok(Self { address, db, stop, served, workers, agents, _lock: lock })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops taking requests, lets what is under way end, and closes the database. Whatever was left
    /// undone is taken up at the next start.
    pub async fn stop(self) {
        self.stop.cancel();
        if let Err(error) = self.served.await {
            tracing::error!(%error, "the server did not stop cleanly");
        }
        futures::future::join_all(self.agents.into_iter().map(|agent| agent.stop(AGENTS_GRACE))).await;
        self.workers.stop().await;
        self.db.close().await;
    }
}

/// Builds the services, puts them to work, and returns the gateway in front of them.
async fn front(ctx: &Context, settings: &Settings, workers: &Workers) -> Result<Router> {
    let plane = settings.plane.clone();
    let key = tokio::task::spawn_blocking(move || plane.signing_key()).await.map_err(Error::internal)??;
    let start = |service: Service| {
        let parts = Parts { db: Some(ctx.db.clone()), bus: Some(ctx.bus.clone()) };
        let upstream = Upstream::Local(observe::around(service.name, service.router(parts)));
        workers.start(service, Some(&ctx.bus));
        upstream
    };
    let upstreams = Upstreams {
        inventory: start(inventory::service(ctx.db.clone(), ctx.clock.clone(), ctx.bell.clone())),
        tasks: start(tasks::service(ctx.clone(), key, settings.keep).await?),
        ingestor: start(result_ingestor::service(ctx.clone())),
    };
    Ok(gateway::routes(upstreams, &Limits::default()).merge(metrics::routes()))
}

fn serve_until(listener: TcpListener, router: Router, stop: CancellationToken) -> tokio::task::JoinHandle<()> {
    tokio::spawn(serve::serve(listener, router, stop))
}
