//! `POST /api/tasks/{task_id}/retry`: the same command again, for the servers that did not succeed. It
//! is a task of its own that points back, because the first one's outcome is evidence and stays.
//!
//! A task is retried once each of its servers has an outcome, be it a guessed one; before, nobody
//! knows whom a retry is for. A guess can be wrong: a server that was given up as lost may still run
//! the first command while the second arrives.

use axum::Json;
use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use http::{HeaderMap, StatusCode};
use shared::contract::task::{NewCommand, Task};
use shared::error::{Error, Result};
use shared::http::path::TaskPath;
use shared::sign::digest;
use shared::store;

use crate::dispatch::{self, Request};
use crate::{Tasks, command, task};

pub fn routes() -> Router<Tasks> {
    Router::new().route("/api/tasks/{task_id}/retry", post(retry))
}

async fn retry(State(tasks): State<Tasks>, TaskPath(id): TaskPath, headers: HeaderMap) -> Result<Response> {
    let key = command::idempotency_key(&headers)?;
    let asked = digest(format!("retry {id}").as_bytes());
    let span = command::span(&headers);
    let caller = command::caller(&headers, key.map(|key| (key, asked)), &span);
    let made = async {
        if let Some(known) = dispatch::answered_before(&tasks, &caller).await? {
            return Ok(known);
        }
        let first = task::find(&tasks, &id).await?;
        let hostnames = unsuccessful(&tasks, &first).await?;
        let command = again(&tasks, first).await?;
        dispatch::make(&tasks, Request { command, caller }, hostnames, Some(id.as_str())).await
    };
    let task: Task = span.scope(made).await?;
    Ok((StatusCode::CREATED, Json(task)).into_response())
}

async fn unsuccessful(tasks: &Tasks, first: &Task) -> Result<Vec<String>> {
    if !first.is_decided() {
        return Err(Error::conflict("some servers have no outcome yet; wait for the task's end, or cancel it first"));
    }
    let hostnames = store::invocation::unsuccessful(&tasks.ctx.db, &first.task_id).await?;
    if hostnames.is_empty() {
        return Err(Error::conflict("every server of the task succeeded; there is nothing to retry"));
    }
    Ok(hostnames)
}

/// What was asked for the first time, roll-out included: what was held back with care must not go out
/// at once. Its first wave knows how long the command might wait.
async fn again(tasks: &Tasks, first: Task) -> Result<NewCommand> {
    let waves = store::wave::signed(&tasks.ctx.db, [(first.task_id, 1)].into()).await?;
    let wave = waves.first().ok_or_else(|| Error::internal("a task without a wave"))?;
    Ok(NewCommand {
        target_type: first.target_type,
        target: first.target,
        command: first.command,
        timeout: Some(first.timeout),
        user: first.user,
        expires_in: Some((wave.expires_at - first.created_at.0) / 1_000),
        max_concurrency: first.max_concurrency,
        max_errors: first.max_errors,
        rollout_expires_in: None,
    })
}
