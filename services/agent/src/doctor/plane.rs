//! The control plane, where its address is configured: whether both sides know each other's keys, and
//! whether the clocks agree.

use std::path::Path;

use shared::clock::Time;
use shared::config::{Source, key};
use shared::contract::key::{ClientKey, PlaneKey};
use shared::error::{Error, Kind, Result};
use shared::http::client::Client;
use shared::name::Hostname;
use shared::rules::limits::CLOCK_SKEW_MAX;

use super::{Finding, host};
use crate::enrolment;

/// Asks the control plane.
pub async fn look(source: &Source, folder: &Path, hostname: &Hostname, now: Time) -> Vec<Finding> {
    let Some(url) = source.get(key::URL) else {
        let detail = "MUSTER_URL is not set, so keys and clock are not compared with the control plane's";
        return vec![Finding::note("plane", detail)];
    };
    let client = match client(source, url) {
        Ok(client) => client,
        Err(error) => return vec![Finding::wrong("plane", error.detail())],
    };
    vec![
        Finding::of("clock", clock(&client, now).await),
        Finding::of("own key", own_key(&client, folder, hostname).await),
        Finding::of("plane key", plane_keys(&client, folder).await),
    ]
}

fn client(source: &Source, url: &str) -> Result<Client> {
    let token = source.secret(key::TOKEN)?;
    Client::with_ca(url, token, source.get(key::CA_FILE).map(Path::new))
}

async fn clock(client: &Client, now: Time) -> Result<String> {
    let Some(date) = client.date().await? else {
        return Err(Error::unavailable(
            "the control plane does not say what time it is; look at what stands before it",
        ));
    };
    let ahead = date.until(now);
    let apart = ahead.max(now.until(date));
    if apart > CLOCK_SKEW_MAX {
        let (seconds, way) = (apart.as_secs(), if ahead.is_zero() { "behind" } else { "ahead of" });
        return Err(Error::bad_input(format!(
            "this server's clock is {seconds} s {way} the control plane's, so commands are rejected; set the clock right (NTP)"
        )));
    }
    Ok(format!("it agrees with the control plane's within {} s", apart.as_secs() + 1))
}

async fn own_key(client: &Client, folder: &Path, hostname: &Hostname) -> Result<String> {
    let own = host::own_key(folder)?;
    let known: ClientKey =
        client.get(&format!("/api/client-keys/{hostname}")).await.map_err(|error| match error.kind() {
            Kind::NotFound => Error::not_found(format!(
                "the control plane knows no key of `{hostname}`, so it believes no result; run muster-agent enroll"
            )),
            _ => error,
        })?;
    if known.keyid == own.keyid() {
        return Ok("the control plane knows this server's key".to_owned());
    }
    Err(Error::conflict(format!(
        "the control plane knows another key for `{hostname}` ({}), so it believes no result of this one; if this is the right server, run muster-agent enroll",
        known.keyid
    )))
}

async fn plane_keys(client: &Client, folder: &Path) -> Result<String> {
    let pinned = enrolment::pinned(folder)?.unwrap_or_default();
    let answered: Vec<PlaneKey> = client.get("/api/signing-keys").await?;
    enrolment::judge(Some(pinned), answered, false)?;
    Ok("the control plane signs with a key that is pinned here".to_owned())
}
