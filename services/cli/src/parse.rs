//! Arguments that become part of a path, parsed before anything is sent: `..` must not lead to
//! another resource, and a typing error needs no round trip to be found.

use shared::error::{Error, Result};
use shared::id::TaskId;
use shared::name::Hostname;
use shared::rules::limits::IDEMPOTENCY_KEY_CHARS_MAX;
use shared::rules::rollout::Limit;

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

/// A dead letter's id.
pub fn letter_id(text: &str) -> Result<String> {
    let is_id = text.len() == 32 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    is_id.then(|| text.to_owned()).ok_or_else(|| Error::bad_input("a letter's id has 32 hexadecimal digits"))
}

/// A number of servers: a count, or a percentage.
pub fn limit(text: &str) -> Result<Limit> {
    Limit::try_from(text.to_owned()).map_err(Error::bad_input)
}

/// The same, and at least one server.
pub fn concurrency(text: &str) -> Result<Limit> {
    let at_least_one = |limit: &Limit| !limit.is_zero();
    Some(limit(text)?).filter(at_least_one).ok_or_else(|| Error::bad_input("it must let at least one server run"))
}

/// An `Idempotency-Key`.
pub fn idempotency_key(text: &str) -> Result<String> {
    let sound = (1..=IDEMPOTENCY_KEY_CHARS_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
    let refused = || Error::bad_input(format!("a key has 1 to {IDEMPOTENCY_KEY_CHARS_MAX} visible ASCII characters"));
    sound.then(|| text.to_owned()).ok_or_else(refused)
}
