//! The plane: routes, relay, roll-out, watchdog and ingestor over one SQLite file, which holds the queues too.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use http_body_util::BodyExt as _;
use serde_json::Value;
use shared::bus::{Bus, LocalBus, Unreliable, consume};
use shared::clock::Clock;
use shared::config::Keep;
use shared::db::lite::disk::Halt;
use shared::db::{Db, Lite};
use shared::error::Result;
use shared::run::{Bell, Context, Work};
use shared::sign::SigningKey;
use tasks::{Relay, Rollout, Watchdog};
use tokio::runtime::Runtime;
use tower::ServiceExt as _;

use crate::drive::{drive, runtime};
use crate::machine::{Machine, Stop};
use crate::template::template;

/// The plane.
pub struct Plane {
    runtime: Runtime,
    halt: Halt,
    pub machine: Machine,
    pub clock: Clock,
    pub bus: Unreliable,
    pub ctx: Context,
    key: Arc<SigningKey>,
    pub routes: Router,
    /// The relay to which accepted commands are handed over.
    own_relay: Work,
}

impl Plane {
    /// A plane that has just been installed.
    pub fn start(root: &Path, halt: &Halt, clock: Clock) -> Self {
        let machine = Machine::new(root.join("plane"), "muster.db", halt.clone());
        fs::copy(&template().database, machine.database()).unwrap();
        let runtime = runtime();
        let (db, local) = runtime.block_on(open(&machine, &clock));
        let bus = Unreliable::new(local, clock.clone());
        let key = Arc::new(SigningKey::from_pem(&template().plane_pem).unwrap());
        let (ctx, routes, own_relay) = runtime.block_on(services(db, &bus, &clock, &key));
        Self { runtime, halt: halt.clone(), machine, clock, bus, ctx, key, routes, own_relay }
    }

    /// All of it ends and starts again.
    pub fn restart(&mut self, stop: Stop) {
        self.machine.restart(stop);
        let was_full = self.machine.disk.is_full();
        self.machine.disk.set_full(false); // it starts once there is room again
        let (db, local) = self.runtime.block_on(open(&self.machine, &self.clock));
        self.bus.replace(local);
        (self.ctx, self.routes, self.own_relay) =
            self.runtime.block_on(services(db, &self.bus, &self.clock, &self.key));
        self.machine.disk.set_full(was_full);
    }

    /// The broker ends and starts again; the services go on.
    pub fn restart_broker(&mut self) {
        let Db::Lite(lite) = self.ctx.db.clone() else { return };
        let clock = self.clock.clone();
        let was_full = self.machine.disk.is_full();
        self.machine.disk.set_full(false); // it starts once there is room again
        let local = self.runtime.block_on(async move { LocalBus::open(lite, clock).await.unwrap() });
        self.machine.disk.set_full(was_full);
        self.bus.replace(local);
    }

    /// Lets a part of it do something; `None` when that part ended at a write. The others go on. A part
    /// has a runtime of its own, with which ends what it has set to work beside itself.
    pub fn drive<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let part = runtime();
        let done = drive(&part, &self.halt, &[&self.machine.disk], || (), work);
        drop(part);
        self.halt.clear();
        done
    }

    /// The relay's step. Returns whether there may be more.
    pub fn relay(&self) -> Option<Result<bool>> {
        let relay = Arc::clone(&self.own_relay);
        self.drive(async move { relay().await })
    }

    /// The step of a relay in another process.
    pub fn other_relay(&self) -> Option<Result<bool>> {
        let relay = Relay::new(self.ctx.clone());
        self.drive(async move { relay.step().await })
    }

    /// The watchdog's step. Returns whether there may be more.
    pub fn watchdog(&self) -> Option<Result<bool>> {
        let watchdog = Watchdog::new(self.ctx.clone());
        self.drive(async move { watchdog.step().await })
    }

    /// The roll-out's step. Returns whether there may be more.
    pub fn rollout(&self) -> Option<Result<bool>> {
        let rollout = Rollout::new(self.ctx.clone(), Arc::clone(&self.key));
        self.drive(async move { rollout.step().await })
    }

    /// The ingestor takes a batch from its `place`-th queue. Returns how many messages that were. When
    /// `ack_lost`, the batch is handled, and the broker never learns of it.
    pub fn ingest(&self, place: usize, ack_lost: bool) -> Option<Result<usize>> {
        let consumer = result_ingestor::service(self.ctx.clone()).consumers.swap_remove(place);
        let bus = self.ctx.bus.clone();
        self.drive(async move {
            let mut hold = bus.subscribe(&consumer.queue).await?;
            if ack_lost {
                let taken = hold.take(consumer.batch_max).await?;
                return Ok(consumer.judge(taken).await.len());
            }
            consume::step(&mut hold, &consumer).await.map(|(handled, _)| handled)
        })
    }

    /// What was held back on the line reaches its queue. It was confirmed long ago, so no power cut may
    /// take it back: it is as durable as if it had been there all the time.
    pub fn release(&self, place: usize) -> Option<Result<()>> {
        let (bus, db) = (self.bus.clone(), self.ctx.db.clone());
        self.drive(async move {
            let room = self.machine.disk.is_full();
            self.machine.disk.set_full(false); // it is there already, so to say
            let released = bus.release(place).await;
            let mut tx = db.begin().await?;
            shared::on!(&mut tx, c => sqlx::query("select 1").execute(c).await.map(drop))?;
            tx.commit().await?;
            self.machine.disk.set_full(room);
            released
        })
    }

    /// Asks the API. Returns the status and the body.
    pub fn call(&self, method: &str, path: &str, key: Option<&str>, body: &Value) -> Option<(u16, Value)> {
        let mut request = Request::builder().method(method).uri(path).header("content-type", "application/json");
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let request = request.body(Body::from(body.to_string())).unwrap();
        let routes = self.routes.clone();
        self.drive(async move {
            let response = routes.oneshot(request).await.unwrap();
            let status = response.status().as_u16();
            let bytes = response.into_body().collect().await.unwrap().to_bytes();
            (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
        })
    }

    /// Rows of a query with a name and a number.
    pub fn numbers(&self, query: &'static str) -> Vec<(String, i64)> {
        let db = self.ctx.db.clone();
        let rows = async move { shared::read!(&db, c => sqlx::query_as(query).fetch_all(c).await) };
        self.drive(rows).unwrap().unwrap()
    }
}

async fn open(machine: &Machine, clock: &Clock) -> (Db, LocalBus) {
    let lite = Lite::open_on(&machine.database(), &machine.seam()).await.unwrap();
    let local = LocalBus::open(lite.clone(), clock.clone()).await.unwrap();
    (Db::Lite(lite), local)
}

async fn services(db: Db, bus: &Unreliable, clock: &Clock, key: &Arc<SigningKey>) -> (Context, Router, Work) {
    let bus = Bus::Unreliable(bus.clone());
    let ctx = Context { db: db.clone(), bus, clock: clock.clone(), bell: Bell::default() };
    let inventory = inventory::service(db, clock.clone(), Bell::default());
    let tasks = tasks::service(ctx.clone(), Arc::clone(key), Keep::default()).await.unwrap();
    let relay = tasks.chores.iter().find(|chore| chore.name == "relay").unwrap();
    (ctx, inventory.routes.merge(tasks.routes), Arc::clone(&relay.work))
}
