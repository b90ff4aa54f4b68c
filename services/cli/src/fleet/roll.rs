//! Enrolling the simulated servers, and taking that back.
//!
//! The plane is looked at first: a server that is not one of the simulated must neither be sent the
//! command nor get another key. From that follows what is missing; exactly that is enrolled, and
//! exactly that is taken back, done or not.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _};
use reqwest::Method;
use serde::de::IgnoredAny;
use shared::contract::key::{ClientKey, NewKey};
use shared::contract::server::{NewServer, Server};
use shared::error::{Error, Kind, Result};
use shared::http::client::Client;

use super::keys::Host;
use crate::run::progress::Progress;

/// Requests under way at a time.
const REQUESTS_MAX: usize = 16;

/// The simulated servers, and which of them the plane does not know yet.
pub struct Roll {
    hosts: Vec<Arc<Host>>,
    group: String,
    without_server: Vec<Arc<Host>>,
    without_key: Vec<Arc<Host>>,
}

impl Roll {
    /// Looks at what the plane knows.
    ///
    /// # Errors
    /// A conflict when what it knows is not of a fleet like this one.
    pub async fn survey(client: &Client, hosts: Vec<Arc<Host>>, group: &str) -> Result<Self> {
        let servers: Vec<Server> = client.get("/api/servers").await?;
        let keys: Vec<ClientKey> = client.get("/api/client-keys").await?;
        let ours: BTreeSet<_> = hosts.iter().map(|host| host.hostname.as_str()).collect();
        for server in &servers {
            let (is_ours, is_in) = (ours.contains(server.hostname.as_str()), server.group.as_deref() == Some(group));
            if is_ours != is_in {
                return Err(stranger(&server.hostname, group, is_in));
            }
        }
        let servers: BTreeSet<_> = servers.iter().map(|server| server.hostname.as_str()).collect();
        let keys: BTreeMap<_, _> = keys.iter().map(|key| (key.hostname.as_str(), key.keyid.as_str())).collect();
        let other_key = |host: &&Arc<Host>| keys.get(host.hostname.as_str()).is_some_and(|id| *id != host.key.keyid());
        if let Some(host) = hosts.iter().find(other_key) {
            return Err(keyed(host));
        }
        let without = |known: &dyn Fn(&str) -> bool| {
            hosts.iter().filter(|host| !known(host.hostname.as_str())).map(Arc::clone).collect()
        };
        let without_server = without(&|name| servers.contains(name));
        let without_key = without(&|name| keys.contains_key(name));
        Ok(Self { without_server, without_key, group: group.to_owned(), hosts })
    }

    /// All of them.
    pub fn hosts(&self) -> &[Arc<Host>] {
        &self.hosts
    }

    /// Uploads the keys and registers the servers that are missing.
    pub async fn enrol(&self, client: &Client) -> Result<()> {
        each(&self.without_key, "keys uploaded", async |host| {
            let body = NewKey { public_key_pem: host.key.public().to_pem()?, algorithm: None };
            client.send::<IgnoredAny>(Method::PUT, &format!("/api/client-keys/{}", host.hostname), &body).await
        })
        .await?;
        each(&self.without_server, "servers registered", async |host| {
            let group = Some(self.group.clone());
            let body = NewServer { hostname: host.hostname.to_string(), ip: None, group };
            client.send::<IgnoredAny>(Method::POST, "/api/servers", &body).await
        })
        .await
    }

    /// Deletes the servers that were missing, and revokes the keys if they are not to be used again.
    pub async fn take_back(&self, client: &Client, revoke: bool) -> Result<()> {
        each(&self.without_server, "servers deleted", async |host| {
            remove(client, &format!("/api/servers/{}", host.hostname)).await
        })
        .await?;
        if !revoke {
            return Ok(());
        }
        each(&self.without_key, "keys revoked", async |host| {
            remove(client, &format!("/api/client-keys/{}", host.hostname)).await
        })
        .await
    }
}

/// Deletes what may not have been made.
async fn remove(client: &Client, path: &str) -> Result<()> {
    match client.act(Method::DELETE, path).await {
        Err(error) if error.kind() == Kind::NotFound => Ok(()),
        outcome => outcome,
    }
}

/// Does `work` for each, several at a time.
async fn each<T>(hosts: &[Arc<Host>], done: &str, work: impl AsyncFn(&Host) -> Result<T>) -> Result<()> {
    let progress = Progress::new();
    let all = futures::stream::iter(hosts).map(|host| work(host)).buffer_unordered(REQUESTS_MAX);
    let counted = all.enumerate().map(|(place, outcome)| {
        progress.say(&format!("{} of {} {done}", place + 1, hosts.len()));
        outcome.map(drop)
    });
    counted.try_collect().await
}

fn stranger(hostname: &str, group: &str, is_in: bool) -> Error {
    Error::conflict(if is_in {
        format!("`{hostname}` is in the group `{group}` and is none of the simulated servers; choose another --group")
    } else {
        format!("there is a server `{hostname}` outside of the group `{group}`; choose another --prefix")
    })
}

fn keyed(host: &Host) -> Error {
    let name = &host.hostname;
    Error::conflict(format!("`{name}` has another key already; name the --keys it was made with, or another --prefix"))
}
