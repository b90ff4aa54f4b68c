//! The journal, looked at without being written.

use std::path::Path;

use shared::clock::Time;
use shared::error::Result;

use super::Finding;
use crate::config::journal_path;
use crate::journal::Summary;

/// Whether it is sound, and what is in it.
pub async fn look(folder: &Path, now: Time) -> Finding {
    let path = journal_path(folder);
    if !path.exists() {
        return Finding::note(
            "journal",
            "there is none yet; the agent makes one, which refuses what was signed before that",
        );
    }
    Finding::of("journal", read(&path, now).await)
}

async fn read(path: &Path, now: Time) -> Result<String> {
    let summary = Summary::read(path).await?;
    let age = |at: Time| format!("{} s", at.until(now).as_secs());
    let oldest = summary.oldest_spooled.map(|at| format!(", the oldest for {}", age(at))).unwrap_or_default();
    Ok(format!(
        "it is sound: {} commands are remembered, {} of them not ended yet; {} results wait for the broker{oldest}",
        summary.jobs, summary.open, summary.spooled
    ))
}
