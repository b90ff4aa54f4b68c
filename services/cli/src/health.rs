//! `muster health`.

use shared::contract::task::Health;
use shared::error::Result;

use crate::document::Document;
use crate::exit::Exit;
use crate::plane::Session;

/// Says whether the control plane is well
#[derive(clap::Args)]
#[command(after_help = "Example:\n  muster health")]
pub struct Args {}

/// Asks. Anything but well is an error, with what is down.
pub async fn run(_: Args, mut session: Session) -> Result<Exit> {
    let health: Document<Health> = session.client.get("/api/health").await?;
    session.show(&health, |out, health| out.line(&health.status))
}
