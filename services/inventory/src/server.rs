//! `/api/servers`.

use std::net::IpAddr;

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::StatusCode;
use shared::clock::Time;
use shared::contract::server::{NewServer, Presence, Server};
use shared::db::{Db, Tx};
use shared::error::{Error, Result};
use shared::http::body::Fields;
use shared::http::list::{List, Paging, respond};
use shared::http::path::HostnamePath;
use shared::name::{self, Hostname};
use shared::rules::invocation::Event;
use shared::store;
use shared::store::invocation::Change;
use shared::store::outbox::{self, Kind, Withdraw};

use crate::Inventory;

pub fn routes() -> Router<Inventory> {
    Router::new()
        .route("/api/servers", get(list).post(create))
        .route("/api/servers/{hostname}", get(show).patch(update).delete(remove))
}

/// All servers, by hostname.
struct All {
    db: Db,
    now: Time,
}

impl List for All {
    type Item = Server;
    type Cursor = String;

    fn start(&self) -> String {
        String::new()
    }

    async fn after(&self, hostname: String, limit: usize) -> Result<Vec<(String, Server)>> {
        let servers = store::server::page(&self.db, &hostname, limit, self.now).await?;
        Ok(servers.into_iter().map(|server| (server.hostname.clone(), server)).collect())
    }
}

async fn list(State(inventory): State<Inventory>, paging: Paging) -> Result<Response> {
    respond(All { db: inventory.db, now: inventory.clock.now() }, paging).await
}

async fn create(State(inventory): State<Inventory>, body: Fields) -> Result<Response> {
    body.only(&["hostname", "ip", "group"])?;
    let hostname = Hostname::parse("hostname", body.required("hostname")?)?;
    let new = NewServer { hostname: hostname.as_str().to_owned(), ip: ip(&body)?, group: group(&body)? };
    let now = inventory.clock.now();
    let mut tx = inventory.db.begin().await?;
    store::server::insert(&mut tx, &new, now).await?;
    order_queue(&mut tx, Kind::Declare, &new.hostname, now).await?;
    tx.commit().await?;
    inventory.bell.ring();
    let server = Server {
        hostname: new.hostname,
        ip: new.ip,
        group: new.group,
        status: Presence::Offline,
        last_heartbeat: None,
        cpu_usage: None,
        memory_usage: None,
        agent_version: None,
        warnings: Vec::new(),
    };
    Ok((StatusCode::CREATED, Json(server)).into_response())
}

fn ip(body: &Fields) -> Result<Option<String>> {
    let Some(text) = body.text("ip")? else { return Ok(None) };
    let ip: IpAddr = text.parse().map_err(|_| Error::bad_input("`ip` must be an IPv4 or IPv6 address"))?;
    Ok(Some(ip.to_string()))
}

fn group(body: &Fields) -> Result<Option<String>> {
    body.text("group")?.map(|text| name::group("group", text)).transpose()
}

async fn show(State(inventory): State<Inventory>, HostnamePath(hostname): HostnamePath) -> Result<Json<Server>> {
    find(&inventory, &hostname).await.map(Json)
}

async fn find(inventory: &Inventory, hostname: &Hostname) -> Result<Server> {
    let server = store::server::find(&inventory.db, hostname.as_str(), inventory.clock.now()).await?;
    server.ok_or_else(|| absent(hostname))
}

fn absent(hostname: &Hostname) -> Error {
    Error::not_found(format!("there is no server named `{hostname}`"))
}

async fn update(
    State(inventory): State<Inventory>,
    HostnamePath(hostname): HostnamePath,
    body: Fields,
) -> Result<Json<Server>> {
    body.only(&["ip", "group"])?;
    let ip = body.has("ip").then(|| ip(&body)).transpose()?;
    let group = body.has("group").then(|| group(&body)).transpose()?;
    let (new_ip, new_group) = (ip.as_ref().map(Option::as_deref), group.as_ref().map(Option::as_deref));
    let mut tx = inventory.db.begin().await?;
    if !store::server::update(&mut tx, hostname.as_str(), new_ip, new_group).await? {
        return Err(absent(&hostname));
    }
    tx.commit().await?;
    find(&inventory, &hostname).await.map(Json)
}

/// Deletes a server. What no relay has touched yet is cancelled; what was sent is left to its agent
/// or to the watchdog.
async fn remove(State(inventory): State<Inventory>, HostnamePath(hostname): HostnamePath) -> Result<StatusCode> {
    let now = inventory.clock.now();
    inventory.db.persist(|| delete(&inventory, &hostname, now)).await?;
    inventory.bell.ring();
    Ok(StatusCode::NO_CONTENT)
}

async fn delete(inventory: &Inventory, hostname: &Hostname, now: Time) -> Result<()> {
    let mut tx = inventory.db.begin().await?;
    if !store::server::delete(&mut tx, hostname.as_str()).await? {
        return Err(absent(hostname));
    }
    let withdrawn = outbox::withdraw(&mut tx, Withdraw::Host(hostname.as_str())).await?;
    let change = |key| Change { key, event: Event::Withdrawn, reason: Some("its server was deleted".to_owned()) };
    store::invocation::apply(&mut tx, withdrawn.into_iter().map(change).collect(), now).await?;
    order_queue(&mut tx, Kind::Delete, hostname.as_str(), now).await?;
    tx.commit().await
}

async fn order_queue(tx: &mut Tx, kind: Kind, hostname: &str, now: Time) -> Result<()> {
    let order = outbox::Entry { kind, task_id: None, wave: None, hostname, traceparent: None, expires_at: None };
    outbox::insert(tx, &[order], now).await
}
