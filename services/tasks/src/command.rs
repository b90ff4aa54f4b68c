//! `POST /api/commands`.

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::{Json, Router};
use http::{HeaderMap, StatusCode};
use shared::contract::task::{NewCommand, TargetType};
use shared::error::{Error, Result};
use shared::http::body::Fields;
use shared::http::{CALLER, observe};
use shared::name::{self, Hostname};
use shared::rules::limits::{
    COMMAND_BYTES_MAX, EXPIRES_IN_SECS_DEFAULT, EXPIRES_IN_SECS_MAX, IDEMPOTENCY_KEY_CHARS_MAX,
    ROLLOUT_EXPIRES_IN_SECS_MAX, TIMEOUT_SECS_DEFAULT, TIMEOUT_SECS_MAX,
};
use shared::rules::rollout::Limit;
use shared::sign::digest;
use shared::telemetry::{Kind, Span, TraceContext};

use crate::Tasks;
use crate::dispatch::{self, Caller, Request};

pub fn routes() -> Router<Tasks> {
    Router::new().route("/api/commands", post(create))
}

async fn create(State(tasks): State<Tasks>, headers: HeaderMap, body: Fields) -> Result<Response> {
    let command = parse(&body)?;
    let idempotency = idempotency_key(&headers)?.map(|key| (key, digest(body.raw())));
    let span = span(&headers);
    let request = Request { command, caller: caller(&headers, idempotency, &span) };
    let task = span.scope(dispatch::accept(&tasks, request)).await?;
    Ok((StatusCode::CREATED, Json(task)).into_response())
}

/// The span in which a task is made.
pub fn span(headers: &HeaderMap) -> Span {
    let parent = TraceContext::current().or_else(|| observe::parent(headers));
    Span::start("accept command", Kind::Internal, parent)
}

/// Who asks for a task.
pub fn caller(headers: &HeaderMap, idempotency: Option<(String, String)>, span: &Span) -> Caller {
    let name = headers.get(CALLER).and_then(|value| value.to_str().ok()).unwrap_or("local");
    Caller { name: name.to_owned(), idempotency, trace: span.context() }
}

fn parse(body: &Fields) -> Result<NewCommand> {
    body.only(&[
        "target_type",
        "target",
        "command",
        "timeout",
        "user",
        "expires_in",
        "max_concurrency",
        "max_errors",
        "rollout_expires_in",
    ])?;
    let target_type = body.text("target_type")?.and_then(TargetType::parse);
    let target_type = target_type.ok_or_else(|| Error::bad_input("`target_type` must be `node`, `group` or `all`"))?;
    Ok(NewCommand {
        target_type,
        target: target(target_type, body.text("target")?)?,
        command: command(body.required("command")?)?,
        timeout: Some(body.number("timeout", 1..=TIMEOUT_SECS_MAX, TIMEOUT_SECS_DEFAULT)?),
        user: body.text("user")?.map(|user| name::user("user", user)).transpose()?,
        expires_in: Some(body.number("expires_in", 1..=EXPIRES_IN_SECS_MAX, EXPIRES_IN_SECS_DEFAULT)?),
        max_concurrency: limit(body, "max_concurrency")?,
        max_errors: limit(body, "max_errors")?,
        rollout_expires_in: rollout_expires_in(body)?,
    })
}

fn limit(body: &Fields, field: &str) -> Result<Option<Limit>> {
    let refused = || Error::bad_input(format!("`{field}` must be a count such as 5, or a percentage such as \"10%\""));
    let Some(text) = body.word(field).map_err(|_| refused())? else { return Ok(None) };
    let limit = Limit::parse(&text).ok_or_else(refused)?;
    if field == "max_concurrency" && limit.is_zero() {
        return Err(Error::bad_input("`max_concurrency` must let at least one server run, such as 1 or \"1%\""));
    }
    Ok(Some(limit))
}

fn rollout_expires_in(body: &Fields) -> Result<Option<i64>> {
    let number = body.number("rollout_expires_in", 1..=ROLLOUT_EXPIRES_IN_SECS_MAX, 0)?;
    let is_rollout = body.word("max_concurrency")?.is_some() || body.word("max_errors")?.is_some();
    if number > 0 && !is_rollout {
        return Err(Error::bad_input("`rollout_expires_in` needs `max_concurrency` or `max_errors` beside it"));
    }
    Ok(Some(number).filter(|number| *number > 0))
}

fn target(kind: TargetType, target: Option<&str>) -> Result<Option<String>> {
    let missing = |what: &str| Error::bad_input(format!("`target` is missing; it must be {what}"));
    match kind {
        TargetType::Node => {
            let hostname = target.ok_or_else(|| missing("the hostname of a server"))?;
            Hostname::parse("target", hostname).map(|hostname| Some(hostname.as_str().to_owned()))
        }
        TargetType::Group => name::group("target", target.ok_or_else(|| missing("the name of a group"))?).map(Some),
        TargetType::All if target.is_some() => {
            Err(Error::bad_input("`target` must be null for `all`; name a server with `node` or a group with `group`"))
        }
        TargetType::All => Ok(None),
    }
}

fn command(text: &str) -> Result<String> {
    if text.trim().is_empty() {
        return Err(Error::bad_input("`command` must not be empty; write what `/bin/sh -c` shall run"));
    }
    if text.len() > COMMAND_BYTES_MAX {
        return Err(Error::bad_input(format!("`command` must not be longer than {COMMAND_BYTES_MAX} bytes")));
    }
    Ok(text.to_owned())
}

/// The caller's key for asking again.
pub fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let visible = |key: &&str| key.bytes().all(|byte| byte.is_ascii_graphic());
    let key = value.to_str().ok().filter(visible).filter(|key| (1..=IDEMPOTENCY_KEY_CHARS_MAX).contains(&key.len()));
    let refused = || {
        Error::bad_input(format!("`Idempotency-Key` must be 1 to {IDEMPOTENCY_KEY_CHARS_MAX} visible ASCII characters"))
    };
    key.map(|key| Some(key.to_owned())).ok_or_else(refused)
}
