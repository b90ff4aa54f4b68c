//! Ctrl-C, which ends the waiting and nothing else.

use shared::error::Result;

use crate::terminal;

/// Does `work`, or stops at Ctrl-C with `advice` on what goes on without us.
pub async fn unless_interrupted<T>(work: impl Future<Output = Result<T>>, advice: &str) -> Result<Option<T>> {
    tokio::select! {
        outcome = work => outcome.map(Some),
        Ok(()) = tokio::signal::ctrl_c() => {
            terminal::complain(advice);
            Ok(None)
        }
    }
}
