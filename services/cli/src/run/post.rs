//! Sends a command until there is an answer. Whether a request that got none was carried out cannot
//! be known; because every attempt has the same key, it need not be.

use std::time::Duration;

use serde::Serialize;
use shared::contract::task::Task;
use shared::error::{Error, Kind, Result};
use shared::http::client::Client;
use shared::rules::backoff::Backoff;

use crate::document::Document;
use crate::exit::Exit;
use crate::terminal;

/// Where new commands are sent to.
pub const COMMANDS: &str = "/api/commands";

/// How often it is sent at most: about six seconds of trouble, enough for a restart of the plane.
const ATTEMPTS_MAX: u32 = 6;
/// The waits in between.
const BACKOFF: Backoff = Backoff { first: Duration::from_millis(500), most: Duration::from_secs(4) };

/// Sends it.
pub async fn post<T: Serialize + Sync>(client: &Client, path: &str, body: &T, key: &str) -> Result<Document<Task>> {
    let mut failures = 0;
    loop {
        let error = match client.post_once(path, body, key).await {
            Ok(task) => return Ok(task),
            Err(error) => error,
        };
        failures += 1;
        if !may_pass(&error) || failures == ATTEMPTS_MAX {
            return Err(with_key(error, key));
        }
        if failures == 1 {
            terminal::complain(&format!("{}; trying again for a few seconds", error.detail()));
        }
        tokio::time::sleep(BACKOFF.wait(failures)).await;
    }
}

/// No connection, no answer in time, or an answer that says "later".
pub fn may_pass(error: &Error) -> bool {
    matches!(error.kind(), Kind::Unavailable | Kind::BadAnswer | Kind::TooMany | Kind::Timeout)
}

/// What failed over there may have been accepted all the same.
fn with_key(error: Error, key: &str) -> Error {
    if Exit::from(error.kind()) != Exit::Unreachable {
        return error;
    }
    let detail = format!("{}; add `--key {key}` to ask again without running it twice", error.detail());
    Error::new(error.kind(), detail).because(error)
}
