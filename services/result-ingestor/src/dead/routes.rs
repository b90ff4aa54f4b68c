//! `/api/dead`: what could not be handled. Replaying and dropping are told in the log with who asked.

use axum::extract::{Query, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, StatusCode};
use shared::contract::dead_letter::{DeadLetter, OpenedLetter};
use shared::db::Db;
use shared::error::{Error, Result};
use shared::http::CALLER;
use shared::http::list::{List, Paging, respond};
use shared::http::path::LetterPath;
use shared::rules::limits::DEAD_LETTER_SHOWN_BYTES;
use shared::run::{Bell, Context};
use shared::sign::Claim;
use shared::store;

use super::replay;

/// What the handlers work with.
#[derive(Clone)]
struct Dead {
    ctx: Context,
    /// Rung when there is something to be replayed.
    bell: Bell,
}

/// The routes; they ring `bell` when there is something to be replayed.
pub fn routes(ctx: Context, bell: Bell) -> Router {
    Router::new()
        .route("/api/dead", get(list))
        .route("/api/dead/{letter_id}", get(show).delete(remove))
        .route("/api/dead/{letter_id}/replay", post(replay))
        .with_state(Dead { ctx, bell })
}

/// Letters from the newest on, perhaps of one reason only.
struct All {
    db: Db,
    reason: Option<String>,
}

impl List for All {
    type Item = DeadLetter;
    /// Its time, its id, and the reason asked for: so a link to the next page leads to the same list.
    type Cursor = (i64, String, Option<String>);

    fn start(&self) -> Self::Cursor {
        (i64::MAX, String::new(), self.reason.clone())
    }

    async fn after(&self, cursor: Self::Cursor, limit: usize) -> Result<Vec<(Self::Cursor, DeadLetter)>> {
        let (at, id, reason) = cursor;
        let letters = store::dead_letter::page(&self.db, reason.as_deref(), &(at, id), limit).await?;
        let with_cursor = |letter: DeadLetter| ((letter.last_at.0, letter.id.clone(), reason.clone()), letter);
        Ok(letters.into_iter().map(with_cursor).collect())
    }
}

/// `Paging` has seen that the query can be read.
async fn list(
    State(dead): State<Dead>,
    paging: Paging,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Response> {
    let reason = pairs.into_iter().find(|(name, _)| name == "reason").map(|(_, reason)| reason);
    if reason.as_deref().is_some_and(|reason| reason.is_empty() || reason.contains('\0')) {
        return Err(Error::bad_input("`reason` must be one of the words that the list shows, like `bad_signature`"));
    }
    respond(All { db: dead.ctx.db, reason }, paging).await
}

async fn show(State(dead): State<Dead>, LetterPath(id): LetterPath) -> Result<Json<OpenedLetter>> {
    let letter = find(&dead, &id).await?;
    let (mut body, _) = store::dead_letter::body(&dead.ctx.db, &id).await?.ok_or_else(absent)?;
    let mut payload = Claim::read(&body).map(|claim| claim.payload());
    let mut truncated = !letter.is_whole() || body.len() > DEAD_LETTER_SHOWN_BYTES;
    if let Some(payload) = payload.as_mut().filter(|payload| payload.len() > DEAD_LETTER_SHOWN_BYTES) {
        payload.truncate(payload.floor_char_boundary(DEAD_LETTER_SHOWN_BYTES));
        truncated = true;
    }
    body.truncate(DEAD_LETTER_SHOWN_BYTES);
    Ok(Json(OpenedLetter { letter, payload, body_base64: STANDARD.encode(&body), truncated }))
}

/// Notes that a letter shall go back to where it was given up, and through all checks once more.
async fn replay(State(dead): State<Dead>, LetterPath(id): LetterPath, headers: HeaderMap) -> Result<Response> {
    let letter = find(&dead, &id).await?;
    if !letter.is_whole() {
        return Err(Error::conflict("the message is larger than any envelope and was not kept whole; drop it"));
    }
    if replay::address(&letter.queue).is_none() {
        return Err(Error::conflict("the message came from no queue to which it could go back; drop it"));
    }
    let mut tx = dead.ctx.db.begin().await?;
    store::dead_letter::request_replay(&mut tx, &id, dead.ctx.clock.now()).await?;
    tx.commit().await?;
    audit("replay", &letter, &headers);
    dead.bell.ring();
    let letter = DeadLetter { replay_requested_at: Some(dead.ctx.clock.now()), ..letter };
    Ok((StatusCode::ACCEPTED, Json(letter)).into_response())
}

async fn remove(State(dead): State<Dead>, LetterPath(id): LetterPath, headers: HeaderMap) -> Result<StatusCode> {
    let letter = find(&dead, &id).await?;
    let mut tx = dead.ctx.db.begin().await?;
    let removed = store::dead_letter::remove(&mut tx, &id).await?;
    tx.commit().await?;
    if !removed {
        return Err(absent());
    }
    audit("drop", &letter, &headers);
    Ok(StatusCode::NO_CONTENT)
}

async fn find(dead: &Dead, id: &str) -> Result<DeadLetter> {
    store::dead_letter::find(&dead.ctx.db, id).await?.ok_or_else(absent)
}

fn absent() -> Error {
    Error::not_found("there is no dead letter with this id; it may have been replayed, dropped, or made room")
}

/// Says who did what to which letter. A warning, so that it is logged wherever anything is.
fn audit(act: &'static str, letter: &DeadLetter, headers: &HeaderMap) {
    let caller = headers.get(CALLER).and_then(|value| value.to_str().ok()).unwrap_or("local");
    tracing::warn!(
        target: "audit",
        act,
        caller,
        letter_id = letter.id,
        reason = letter.reason,
        hostname = letter.hostname,
        task_id = letter.task_id,
        verified = letter.verified,
        "a dead letter was decided on"
    );
}
