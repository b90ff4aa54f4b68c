//! `GET /api/tasks/{task_id}/results`: what the agents signed, one a host.

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use shared::contract::task::TaskResult;
use shared::db::Db;
use shared::error::Result;
use shared::http::list::{List, Paging, respond};
use shared::http::path::TaskPath;
use shared::rules::limits::RESULT_ROWS;
use shared::store;
use shared::store::result::After;

use crate::{Tasks, task};

pub fn routes() -> Router<Tasks> {
    Router::new().route("/api/tasks/{task_id}/results", get(list))
}

/// A task's results, by time, then hostname.
struct OfTask {
    db: Db,
    task_id: String,
}

impl List for OfTask {
    type Item = TaskResult;
    type Cursor = After;
    const CHUNK: usize = RESULT_ROWS; // each may have a megabyte
    const PAGE: usize = RESULT_ROWS;

    fn start(&self) -> After {
        (i64::MIN, String::new())
    }

    async fn after(&self, after: After, limit: usize) -> Result<Vec<(After, TaskResult)>> {
        let rows = store::result::page(&self.db, &self.task_id, &after, limit).await?;
        Ok(rows.into_iter().map(|row| ((row.timestamp.0, row.hostname.clone()), row)).collect())
    }
}

async fn list(State(tasks): State<Tasks>, TaskPath(id): TaskPath, paging: Paging) -> Result<Response> {
    task::find(&tasks, &id).await?;
    respond(OfTask { db: tasks.ctx.db, task_id: id.to_string() }, paging).await
}
