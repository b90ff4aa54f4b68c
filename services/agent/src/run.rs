//! `muster-agent run`: the agent as a server's own service. It listens nowhere: all that it needs
//! comes from its folder and from the broker, which may be away when it starts.
//!
//! At SIGTERM it takes no more commands, gives those that run [`STOP_GRACE`], hands in what is
//! spooled, and ends. What still runs then is killed, and reported as interrupted by the next run.

use std::time::Duration;

use shared::bus::Bus;
use shared::bus::rabbit::Role;
use shared::clock::Clock;
use shared::config::Source;
use shared::error::Result;
use shared::run::{Termination, Workers, broker};

use crate::exec::{Exec, Limits, Process};
use crate::policy::Policy;
use crate::{Agent, Settings, notify};

/// How long running commands may take to end by themselves at a stop.
const STOP_GRACE: Duration = Duration::from_secs(30);

/// Serves until it is told to stop.
pub async fn run() -> Result<()> {
    let mut termination = Termination::listen()?;
    let source = Source::load()?;
    let settings = Settings::from_source(&source)?;
    let bus = broker(&source, Role::Agent, &format!("muster-agent {}", settings.hostname))?;
    if let Err(reason) = Policy::new(settings.policy.clone(), settings.policy_may_be_own).check() {
        tracing::warn!(%reason, "every command will be refused");
    }
    let exec = Exec::Process(Process::new(Limits::default()));
    let agent = Agent::open(settings, bus.clone(), Clock::System, exec).await?;
    serve(agent, &bus, termination.asked()).await;
    Ok(())
}

/// Works until `asked` to stop.
async fn serve(agent: Agent, bus: &Bus, asked: impl Future<Output = ()>) {
    let workers = Workers::default();
    workers.start(agent.service(), Some(bus));
    tracing::info!(hostname = agent.0.hostname, keyid = agent.public_key().keyid(), "ready");
    notify::tell("READY=1");
    asked.await;
    tracing::info!("stopping: no more commands are taken");
    notify::tell("STOPPING=1");
    workers.stop().await;
    agent.finish(STOP_GRACE).await;
}

#[cfg(test)]
mod tests {
    use shared::bus::LocalBus;
    use shared::db::Lite;

    use super::*;
    use crate::exec::{End, Outcome, Script, Scripted};

    /// How long a stop may take when nothing runs and the broker is there.
    const PROMPTLY: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn told_to_stop_it_ends_promptly_and_lets_go_of_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let lite = Lite::open(&folder.path().join("bus.db")).await.unwrap();
        shared::db::Db::Lite(lite.clone()).migrate().await.unwrap();
        let bus = Bus::Local(LocalBus::open(lite, Clock::System).await.unwrap());
        for _ in 0..2 {
            let settings = Settings::new("web-1", folder.path().join("agent"), Vec::new()).unwrap();
            let exec = Exec::Scripted(Scripted::new(|_| Script::Ends(Outcome::new(End::Exited(0), ""))));
            let agent = Agent::open(settings, bus.clone(), Clock::System, exec).await.unwrap();
            tokio::time::timeout(PROMPTLY, serve(agent, &bus, std::future::ready(()))).await.unwrap();
        }
    }
}
