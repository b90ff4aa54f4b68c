//! `GET /api/signing-keys`: the plane's public keys, for agents and auditors.

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use shared::contract::key::PlaneKey;
use shared::error::Result;
use shared::store;

use crate::Tasks;

pub fn routes() -> Router<Tasks> {
    Router::new().route("/api/signing-keys", get(list))
}

async fn list(State(tasks): State<Tasks>) -> Result<Json<Vec<PlaneKey>>> {
    store::signing_key::all(&tasks.ctx.db).await.map(Json)
}
