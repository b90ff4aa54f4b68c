//! `/api/client-keys`: who may speak for a server. The most sensitive resource there is.

use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use axum::{Json, Router};
use http::StatusCode;
use shared::contract::key::{Algorithm, ClientKey};
use shared::db::Db;
use shared::error::{Error, Result};
use shared::http::body::Fields;
use shared::http::list::{List, Paging, respond};
use shared::http::path::HostnamePath;
use shared::name::Hostname;
use shared::sign::PublicKey;
use shared::store;

use crate::Inventory;

pub fn routes() -> Router<Inventory> {
    Router::new()
        .route("/api/client-keys", get(list))
        .route("/api/client-keys/{hostname}", get(show).put(put).delete(revoke))
}

/// The keys in use, by hostname.
struct InUse(Db);

impl List for InUse {
    type Item = ClientKey;
    type Cursor = String;

    fn start(&self) -> String {
        String::new()
    }

    async fn after(&self, hostname: String, limit: usize) -> Result<Vec<(String, ClientKey)>> {
        let rows = store::key::page(&self.0, &hostname, limit).await?;
        rows.into_iter().map(|row| row.shown().map(|key| (key.hostname.clone(), key))).collect()
    }
}

async fn list(State(inventory): State<Inventory>, paging: Paging) -> Result<Response> {
    respond(InUse(inventory.db), paging).await
}

async fn show(State(inventory): State<Inventory>, HostnamePath(hostname): HostnamePath) -> Result<Json<ClientKey>> {
    find(&inventory, &hostname).await.map(Json)
}

async fn find(inventory: &Inventory, hostname: &Hostname) -> Result<ClientKey> {
    let row = store::key::active(&inventory.db, hostname.as_str()).await?;
    row.ok_or_else(|| absent(hostname))?.shown()
}

fn absent(hostname: &Hostname) -> Error {
    Error::not_found(format!("`{hostname}` has no public key; upload one with PUT"))
}

/// Stores a key; the one before retires. The server need not be registered yet.
async fn put(
    State(inventory): State<Inventory>,
    HostnamePath(hostname): HostnamePath,
    body: Fields,
) -> Result<Json<ClientKey>> {
    body.only(&["public_key_pem", "algorithm"])?;
    let key = PublicKey::from_pem(body.required("public_key_pem")?)?;
    let named = |text| Algorithm::parse(text).ok_or_else(|| Error::bad_input("`algorithm` must be `PS256` or `RS256`"));
    let algorithm = body.text("algorithm")?.map(named).transpose()?;
    inventory.db.persist(|| replace(&inventory, &hostname, &key, algorithm)).await?;
    find(&inventory, &hostname).await.map(Json)
}

async fn replace(
    inventory: &Inventory,
    hostname: &Hostname,
    key: &PublicKey,
    algorithm: Option<Algorithm>,
) -> Result<()> {
    let mut tx = inventory.db.begin().await?;
    store::key::put(&mut tx, hostname.as_str(), key, algorithm, inventory.clock.now()).await?;
    tx.commit().await
}

/// Revokes a host's keys. Nothing is deleted, so that old results can still be checked.
async fn revoke(State(inventory): State<Inventory>, HostnamePath(hostname): HostnamePath) -> Result<StatusCode> {
    inventory.db.persist(|| withdraw(&inventory, &hostname)).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn withdraw(inventory: &Inventory, hostname: &Hostname) -> Result<()> {
    let mut tx = inventory.db.begin().await?;
    if !store::key::revoke(&mut tx, hostname.as_str(), inventory.clock.now()).await? {
        return Err(absent(hostname));
    }
    tx.commit().await
}
