//! `POST /api/tasks/{task_id}/cancel`.
//!
//! What is held back or no relay has touched is taken back here and now, and is cancelled for good.
//! Everything else may have reached its server, so a signed cancel follows it there, and only what the
//! agent reports changes its state. Each wave has its own cancel, which names the wave's command and
//! targets, so the proof that each server has for the command serves for the cancel too.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::{Json, Router};
use http::StatusCode;
use shared::clock::Time;
use shared::contract::signed::{Cancel, Command, Kind, PLANE};
use shared::contract::task::Task;
use shared::crash::{self, Point};
use shared::db::Tx;
use shared::error::{self, Error, Result};
use shared::http::path::TaskPath;
use shared::rules::invocation::{Event, Times};
use shared::rules::limits::VALIDITY_MAX;
use shared::sign::{Envelope, SigningKey, stored_payload};
use shared::store;
use shared::store::invocation::Change;
use shared::store::outbox::{self, Withdraw};
use shared::store::task::Order;
use shared::store::wave;

use crate::{Tasks, rollout, task};

/// Why something is cancelled that no server ever heard of.
const NEVER_SENT: &str = "cancelled before it was sent";

pub fn routes() -> Router<Tasks> {
    Router::new().route("/api/tasks/{task_id}/cancel", post(cancel))
}

async fn cancel(State(tasks): State<Tasks>, TaskPath(id): TaskPath) -> Result<Response> {
    let task = task::find(&tasks, &id).await?;
    if task.is_final {
        return Err(Error::conflict(format!("the task is over already: {}", task.status.as_str())));
    }
    if task.cancel_requested_at.is_none() {
        request(&tasks, &task).await?;
        crash::point(Point::CancelCommitted);
        tasks.ctx.bell.ring();
    }
    Ok((StatusCode::ACCEPTED, Json(task::find(&tasks, &id).await?)).into_response())
}

async fn request(tasks: &Tasks, task: &Task) -> Result<()> {
    tasks.ctx.db.persist(|| try_request(tasks, task)).await
}

/// Signs for the waves that are out, then stores everything at once; a wave that went out meanwhile is
/// a reason to begin again.
async fn try_request(tasks: &Tasks, task: &Task) -> Result<()> {
    let now = tasks.ctx.clock.now();
    let waves = wave::of_task(&tasks.ctx.db, &task.task_id).await?;
    let order = store::task::order(&tasks.ctx.db, &task.task_id).await?;
    let order = order.ok_or_else(|| Error::not_found("there is no task with this id"))?;
    let cancels = sign(Arc::clone(&tasks.key), waves, order.timeout, now).await?;
    let mut tx = tasks.ctx.db.begin().await?;
    let rollout = store::rollout::lock(&mut tx, &task.task_id).await?;
    if wave::count(&mut tx, &task.task_id).await? != cancels.len() as i64 {
        return Err(Error::new(error::Kind::Contended, "a wave went out while it was cancelled; ask again"));
    }
    if store::task::request_cancel(&mut tx, &task.task_id, now).await? {
        if rollout.is_some() {
            rollout::end(&mut tx, &task.task_id, Event::Withdrawn, NEVER_SENT, now).await?;
        }
        withdraw(&mut tx, &task.task_id, now).await?;
        pursue(&mut tx, &order, &cancels, now).await?;
    }
    crash::point(Point::CancelWritten);
    tx.commit().await
}

/// A wave's signed cancel.
struct Signed {
    wave: i64,
    expires_at: Time,
    envelope: Envelope,
}

async fn sign(key: Arc<SigningKey>, waves: Vec<wave::Signed>, timeout: i64, now: Time) -> Result<Vec<Signed>> {
    let sign = move |wave: wave::Signed| {
        let deadline = Times::new(wave.expires_at, timeout).deadline();
        let cancel = body(&wave, deadline.min(now.plus(VALIDITY_MAX)), now)?;
        let payload = serde_json::to_vec(&cancel).map_err(Error::internal)?;
        let envelope = Envelope::sign(Kind::Cancel, payload, &key)?;
        Ok(Signed { wave: wave.wave, expires_at: cancel.expires_at, envelope })
    };
    let work = move || waves.into_iter().map(sign).collect();
    tokio::task::spawn_blocking(work).await.map_err(Error::internal)?
}

fn body(wave: &wave::Signed, expires_at: Time, now: Time) -> Result<Cancel> {
    let command: Command = stored_payload(&wave.envelope)?;
    Ok(Cancel {
        iss: PLANE.to_owned(),
        task_id: command.task_id,
        command_digest: wave.command_digest.clone(),
        issued_at: now,
        expires_at,
        targets: command.targets,
    })
}

/// Takes back what was never attempted.
async fn withdraw(tx: &mut Tx, task_id: &str, now: Time) -> Result<()> {
    let keys = outbox::withdraw(tx, Withdraw::Task(task_id)).await?;
    let change = |key| Change { key, event: Event::Withdrawn, reason: Some(NEVER_SENT.to_owned()) };
    store::invocation::apply(tx, keys.into_iter().map(change).collect(), now).await.map(drop)
}

/// Sends cancels after everything else, each server its wave's.
async fn pursue(tx: &mut Tx, order: &Order, cancels: &[Signed], now: Time) -> Result<()> {
    let hostnames = store::invocation::unfinished(tx, &order.task_id).await?;
    let pursued: BTreeSet<_> = hostnames.iter().map(|(_, wave)| *wave).collect();
    for cancel in cancels.iter().filter(|cancel| pursued.contains(&cancel.wave)) {
        wave::cancel(tx, (&order.task_id, cancel.wave), &cancel.envelope.to_json()).await?;
    }
    let expiries: BTreeMap<_, _> = cancels.iter().map(|cancel| (cancel.wave, cancel.expires_at)).collect();
    let entry = |hostname, wave| outbox::Entry {
        kind: outbox::Kind::Cancel,
        task_id: Some(&order.task_id),
        wave: Some(wave),
        hostname,
        traceparent: Some(&order.traceparent),
        expires_at: expiries.get(&wave).copied(),
    };
    let entries: Vec<_> = hostnames.iter().map(|(hostname, wave)| entry(hostname.as_str(), *wave)).collect();
    outbox::insert(tx, &entries, now).await
}
