//! Arguments that become part of a path, parsed before anything is sent: `..` must not lead to
//! another resource, and a typing error needs no round trip to be found.

use shared::error::{Error, Result};
use shared::id::TaskId;
use shared::name::Hostname;
use shared::rules::limits::IDEMPOTENCY_KEY_CHARS_MAX;

/// The server that a command is about.
#[derive(clap::Args)]
pub struct Host {
    /// The server's name
    #[arg(value_parser = hostname)]
    pub hostname: Hostname,
}

/// A server's name.
pub fn hostname(text: &str) -> Result<Hostname> {
    Hostname::parse("HOSTNAME", text)
}

/// A task's id.
pub fn task_id(text: &str) -> Result<TaskId> {
    TaskId::parse(text)
}

/// An `Idempotency-Key`.
pub fn idempotency_key(text: &str) -> Result<String> {
    let sound = (1..=IDEMPOTENCY_KEY_CHARS_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
    let refused = || Error::bad_input(format!("a key has 1 to {IDEMPOTENCY_KEY_CHARS_MAX} visible ASCII characters"));
    sound.then(|| text.to_owned()).ok_or_else(refused)
}
