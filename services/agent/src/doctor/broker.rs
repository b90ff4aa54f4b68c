//! The broker: whether it can be reached with this login, and has this server's queue.

use shared::bus::rabbit::{self, Role, Settings};
use shared::config::{Source, key};
use shared::error::{Error, Result};

use super::Finding;

/// Asks the broker.
pub async fn look(source: &Source, queue: &str) -> Finding {
    Finding::of("broker", ask(source, queue).await)
}

async fn ask(source: &Source, queue: &str) -> Result<String> {
    let settings = Settings {
        url: source.need_secret(key::BROKER_URL)?,
        ca_file: source.get(key::BROKER_CA_FILE).map(Into::into),
        role: Role::Agent,
        name: "muster-agent doctor".to_owned(),
    };
    if rabbit::look(&settings, queue).await? {
        return Ok(format!("the login works, and the queue `{queue}` is there"));
    }
    Err(Error::not_found(format!(
        "the login works, but there is no queue `{queue}`; see that the server is registered under this name and that the plane's relay runs"
    )))
}
