//! Heartbeats: signed, numbered, and worth nothing later, so they are not spooled.

use shared::contract::signed::{Heartbeat, Kind};
use shared::error::{Error, Result};
use shared::rules::limits::HEARTBEAT_TTL;

use crate::Agent;

/// What is said while results cannot be journalled, though little writes can.
const RESULTS_ARE_STUCK: &str = "results cannot be written to the journal; see whether its disk is full";
/// What is said of a full spool.
const SPOOL_IS_FULL: &str = "the spool is full, so new commands stay with the broker until results are handed in";

impl Agent {
    /// Sends one heartbeat.
    pub(crate) async fn heartbeat(self) -> Result<bool> {
        // Best effort: what is wrong is in the heartbeat, which goes on without a journal.
        _ = self.mend().await;
        let load = self.0.load.sample(&self.0.clock).await;
        let (spooled, _) = self.0.journal.spool_size();
        let beat = Heartbeat {
            iss: self.0.hostname.clone(),
            boot_id: self.0.boot.id(),
            previous_boot_id: self.0.boot.previous_id(),
            counter: self.0.state.count(),
            sent_at: self.0.clock.now(),
            cpu_usage: load.cpu_percent,
            memory_usage: load.memory_percent,
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            running: u32::try_from(self.0.state.running()).unwrap_or(u32::MAX),
            spooled: u32::try_from(spooled).unwrap_or(u32::MAX),
            trouble: self.trouble(),
        };
        let payload = serde_json::to_vec(&beat).map_err(Error::internal)?;
        self.publish(Kind::Heartbeat, self.sign(Kind::Heartbeat, payload)?, None, Some(HEARTBEAT_TTL)).await?;
        Ok(false)
    }

    /// Why commands do not run here as they should, in one sentence.
    fn trouble(&self) -> Option<String> {
        let stuck = || self.0.state.is_stuck().then(|| RESULTS_ARE_STUCK.to_owned());
        let full = || self.spool_is_full().then(|| SPOOL_IS_FULL.to_owned());
        self.0.journal.trouble().or_else(stuck).or_else(full)
    }
}
