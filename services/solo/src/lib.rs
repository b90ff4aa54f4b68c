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
use gateway::{Upstream, Upstreams};
use shared::bus::{Bus, LocalBus};
use shared::clock::Clock;
use shared::config;
use shared::db::Db;
use shared::error::{Error, Result};
use shared::http::{guard, layers, serve};
use shared::lock::Lock;
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
        let db = settings.plane.database().await?;
        let ctx = context(&db).await?;
        let workers = Workers::default();
        let front = front(&ctx, &settings, &workers).await?;
        let agents = local_agent::start_all(&settings, &ctx, &front).await;
        let stop = CancellationToken::new();
        let router = layers::around(front.layer(from_fn_with_state(admitted, guard::layer)));
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

async fn context(db: &Db) -> Result<Context> {
    let Db::Lite(lite) = db;
    let bus = Bus::Local(LocalBus::open(lite.clone(), Clock::System).await?);
    Ok(Context { db: db.clone(), bus, clock: Clock::System, bell: Bell::default() })
}

/// Builds the services, puts them to work, and returns the gateway in front of them.
async fn front(ctx: &Context, settings: &Settings, workers: &Workers) -> Result<Router> {
    let plane = settings.plane.clone();
    let key = tokio::task::spawn_blocking(move || plane.signing_key()).await.map_err(Error::internal)??;
    let start = |service: Service| {
        let upstream = Upstream::Local(service.router(ctx.db.clone()));
        workers.start(service, &ctx.bus);
        upstream
    };
    Ok(gateway::routes(Upstreams {
        inventory: start(inventory::service(ctx.clone())),
        tasks: start(tasks::service(ctx.clone(), key).await?),
        ingestor: start(result_ingestor::service(ctx.clone())),
    }))
}

fn serve_until(listener: TcpListener, router: Router, stop: CancellationToken) -> tokio::task::JoinHandle<()> {
    tokio::spawn(serve::serve(listener, router, stop))
}
