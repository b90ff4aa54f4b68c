//! `POST /api/tasks/{task_id}/cancel`.
//!
//! What no relay has touched is taken back here and now, and is cancelled for good. Everything else
//! may have reached its server, so a signed cancel follows it there, and only what the agent reports
//! changes its state. The cancel names the command's own targets, so the proof that each server has
//! for the command serves for the cancel too.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::{Json, Router};
use http::StatusCode;
use shared::clock::Time;
use shared::contract::signed::{Cancel, Command, Kind, PLANE};
use shared::contract::task::Task;
use shared::db::Tx;
use shared::error::{Error, Result};
use shared::http::path::TaskPath;
use shared::rules::invocation::Event;
use shared::rules::limits::VALIDITY_MAX;
use shared::sign::{Envelope, SigningKey, stored_payload};
use shared::store;
use shared::store::invocation::Change;
use shared::store::outbox::{self, Withdraw};
use shared::store::task::Signed;

use crate::{Tasks, task};

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
        tasks.ctx.bell.ring();
    }
    Ok((StatusCode::ACCEPTED, Json(task::find(&tasks, &id).await?)).into_response())
}

async fn request(tasks: &Tasks, task: &Task) -> Result<()> {
    let now = tasks.ctx.clock.now();
    let signed = store::task::signed(&tasks.ctx.db, [task.task_id.as_str()].into()).await?.into_iter().next();
    let signed = signed.ok_or_else(|| Error::not_found("there is no task with this id"))?;
    let cancel = body(&signed, task.deadline.min(now.plus(VALIDITY_MAX)), now)?;
    let expires_at = cancel.expires_at;
    let envelope = sign(Arc::clone(&tasks.key), cancel).await?.to_json();
    let stored = || async {
        let mut tx = tasks.ctx.db.begin().await?;
        if store::task::request_cancel(&mut tx, &task.task_id, &envelope, now).await? {
            withdraw(&mut tx, &task.task_id, now).await?;
            pursue(&mut tx, &signed, expires_at, now).await?;
        }
        tx.commit().await
    };
    tasks.ctx.db.persist(stored).await
}

fn body(signed: &Signed, expires_at: Time, now: Time) -> Result<Cancel> {
    let command: Command = stored_payload(&signed.envelope)?;
    Ok(Cancel {
        iss: PLANE.to_owned(),
        task_id: command.task_id,
        command_digest: signed.command_digest.clone(),
        issued_at: now,
        expires_at,
        targets: command.targets,
    })
}

async fn sign(key: Arc<SigningKey>, cancel: Cancel) -> Result<Envelope> {
    let work = move || {
        let payload = serde_json::to_vec(&cancel).map_err(Error::internal)?;
        Envelope::sign(Kind::Cancel, payload, &key)
    };
    tokio::task::spawn_blocking(work).await.map_err(Error::internal)?
}

/// Takes back what was never attempted.
async fn withdraw(tx: &mut Tx, task_id: &str, now: Time) -> Result<()> {
    let keys = outbox::withdraw(tx, Withdraw::Task(task_id)).await?;
    let change = |key| Change { key, event: Event::Withdrawn, reason: Some("cancelled before it was sent".to_owned()) };
    store::invocation::apply(tx, keys.into_iter().map(change).collect(), now).await.map(drop)
}

/// Sends a cancel after everything else.
async fn pursue(tx: &mut Tx, signed: &Signed, expires_at: Time, now: Time) -> Result<()> {
    let hostnames = store::invocation::unfinished_hosts(tx, &signed.task_id).await?;
    let entry = |hostname| outbox::Entry {
        kind: outbox::Kind::Cancel,
        task_id: Some(&signed.task_id),
        hostname,
        traceparent: Some(&signed.traceparent),
        expires_at: Some(expires_at),
    };
    let entries: Vec<_> = hostnames.iter().map(String::as_str).map(entry).collect();
    outbox::insert(tx, &entries, now).await
}
