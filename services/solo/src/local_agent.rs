//! Agents in the same process: the real ones, with their own keys, journals and queues.

use std::time::Duration;

use agent::Agent;
use agent::exec::{Exec, Limits, Process};
use axum::Router;
use futures::future::join_all;
use shared::error::{Error, Result, chain};
use shared::run::{Context, Workers};
use shared::store;

use crate::Settings;
use crate::enrol::enrol;

/// An agent at work.
pub struct LocalAgent {
    agent: Agent,
    workers: Workers,
}

/// Starts every agent of the settings and enrols it. One that cannot start (its key was revoked, its
/// journal is damaged) does not keep the plane from starting.
pub async fn start_all(settings: &Settings, ctx: &Context, front: &Router) -> Vec<LocalAgent> {
    let started = join_all(settings.agents.iter().map(|hostname| start(settings, ctx, front, hostname))).await;
    let mut agents = Vec::with_capacity(started.len());
    for (hostname, agent) in settings.agents.iter().zip(started) {
        match agent {
            Ok(agent) => agents.push(agent),
            Err(error) => tracing::error!(hostname, cause = chain(&error), "a local agent did not start"),
        }
    }
    agents
}

async fn start(settings: &Settings, ctx: &Context, front: &Router, hostname: &str) -> Result<LocalAgent> {
    let folder = settings.plane.data_dir.join("agents").join(hostname);
    let plane_keys = store::signing_key::all(&ctx.db).await?;
    let mut own = agent::Settings::new(hostname, folder, plane_keys)?;
    own.policy.clone_from(&settings.policy);
    own.policy_may_be_own = true;
    // Making a key takes a while; on a thread of its own, so that several are made at once.
    let for_key = own.clone();
    tokio::task::spawn_blocking(move || for_key.key().map(drop)).await.map_err(Error::internal)??;
    let exec = Exec::Process(Process::new(Limits::default()));
    let agent = Agent::open(own, ctx.bus.clone(), ctx.clock.clone(), exec).await?;
    enrol(front, hostname, agent.public_key()).await?;
    let workers = Workers::default();
    workers.start(agent.service(), Some(&ctx.bus));
    Ok(LocalAgent { agent, workers })
}

impl LocalAgent {
    /// Takes no more commands, waits for those that run, and hands in what is spooled.
    pub async fn stop(self, grace: Duration) {
        self.workers.stop().await;
        self.agent.finish(grace).await;
    }
}
