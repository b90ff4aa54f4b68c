//! What the broker answers, as this house's errors, and how long an answer may take.
//!
//! lapin waits for ever for a peer that says nothing, and a broker that is frozen or out of memory
//! says nothing. So every exchange with it has a limit of our own.

use std::error::Error as StdError;
use std::time::Duration;

use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
use lapin::types::ShortString;
use lapin::{Error as BrokerError, ErrorKind};

use crate::error::{Error, Kind, Result, chain};

/// The longest that one answer of the broker may take: a confirm, a declaration, a settlement.
pub(super) const ANSWER_WAIT: Duration = Duration::from_secs(10);

/// Waits for an answer. The outer error is that there was none.
pub(super) async fn answer<T>(asked: impl Future<Output = lapin::Result<T>>) -> Result<lapin::Result<T>> {
    let late = |_| away(format!("it did not answer within {} seconds", ANSWER_WAIT.as_secs()));
    tokio::time::timeout(ANSWER_WAIT, asked).await.map_err(late)
}

/// Waits for an answer that must not be a refusal.
pub(super) async fn within<T>(asked: impl Future<Output = lapin::Result<T>>) -> Result<T> {
    answer(asked).await?.map_err(trouble)
}

/// The broker cannot be reached, or does not answer.
pub(super) fn away(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Error {
    Error::unavailable("the broker cannot be used right now; try again shortly").because(cause)
}

/// Why the broker cannot be used, without saying that it cannot, which whoever is told says.
pub(super) fn why(error: &Error) -> String {
    let cause = error.source().filter(|_| error.kind() == Kind::Unavailable);
    cause.map_or_else(|| chain(error), chain)
}

/// What went wrong at the broker.
pub(super) fn trouble(error: BrokerError) -> Error {
    if is_refused(&error) {
        let detail = "the broker refuses this to the user in MUSTER_BROKER_URL; give that user the permission";
        return Error::new(Kind::Forbidden, detail).because(error);
    }
    away(error)
}

/// Whether it says that there is no such queue.
pub(super) fn is_missing(error: &BrokerError) -> bool {
    soft(error) == Some(AMQPSoftError::NOTFOUND)
}

/// Whether it says that this user may not do this.
pub(super) fn is_refused(error: &BrokerError) -> bool {
    soft(error) == Some(AMQPSoftError::ACCESSREFUSED)
}

fn soft(error: &BrokerError) -> Option<AMQPSoftError> {
    let ErrorKind::ProtocolError(error) = error.kind() else { return None };
    let AMQPErrorKind::Soft(soft) = error.kind() else { return None };
    Some(soft.clone())
}

/// A name as AMQP writes it, which has room for 255 bytes; lapin's own conversion panics beyond.
pub(super) fn short(name: &str) -> Result<ShortString> {
    ShortString::try_new(name).map_err(|error| Error::internal(format!("`{name}` is no name for the broker: {error}")))
}
