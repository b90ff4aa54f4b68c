//! Heartbeats: signed, numbered, and worth nothing later, so they are not spooled.

use shared::contract::signed::{Heartbeat, Kind};
use shared::error::{Error, Result};
use shared::rules::limits::HEARTBEAT_TTL;

use crate::Agent;

impl Agent {
    /// Sends one heartbeat.
    pub(crate) async fn heartbeat(self) -> Result<bool> {
        let load = self.0.load.sample().await;
        let (spooled, _) = self.0.journal.spool_size();
        let beat = Heartbeat {
            iss: self.0.hostname.clone(),
            boot_id: self.0.boot_id.clone(),
            counter: self.0.state.count(),
            sent_at: self.0.clock.now(),
            cpu_usage: load.cpu_percent,
            memory_usage: load.memory_percent,
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            running: u32::try_from(self.0.state.running()).unwrap_or(u32::MAX),
            spooled: u32::try_from(spooled).unwrap_or(u32::MAX),
        };
        let payload = serde_json::to_vec(&beat).map_err(Error::internal)?;
        self.publish(Kind::Heartbeat, self.sign(Kind::Heartbeat, payload)?, None, Some(HEARTBEAT_TTL)).await?;
        Ok(false)
    }
}
