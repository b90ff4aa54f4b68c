//! `GET /api/tasks/{task_id}/conflicts`: results that contradict the one that is stored. The first one
//! that a server signed counts; another one means that two agents speak for one server, or that its key
//! is in other hands.

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use shared::contract::task::ResultConflict;
use shared::db::Db;
use shared::error::Result;
use shared::http::list::{List, Paging, respond};
use shared::http::path::TaskPath;
use shared::rules::limits::RESULT_ROWS;
use shared::store;
use shared::store::result::AfterConflict;

use crate::{Tasks, task};

pub fn routes() -> Router<Tasks> {
    Router::new().route("/api/tasks/{task_id}/conflicts", get(list))
}

/// A task's conflicts, by hostname.
struct OfTask {
    db: Db,
    task_id: String,
}

impl List for OfTask {
    type Item = ResultConflict;
    type Cursor = AfterConflict;
    const CHUNK: usize = RESULT_ROWS; // each may have a megabyte
    const PAGE: usize = RESULT_ROWS;

    fn start(&self) -> AfterConflict {
        (String::new(), String::new())
    }

    async fn after(&self, after: AfterConflict, limit: usize) -> Result<Vec<(AfterConflict, ResultConflict)>> {
        let rows = store::result::conflicts(&self.db, &self.task_id, &after, limit).await?;
        Ok(rows.into_iter().map(|row| ((row.result.hostname.clone(), row.digest.clone()), row)).collect())
    }
}

async fn list(State(tasks): State<Tasks>, TaskPath(id): TaskPath, paging: Paging) -> Result<Response> {
    task::find(&tasks, &id).await?;
    respond(OfTask { db: tasks.ctx.db, task_id: id.to_string() }, paging).await
}
