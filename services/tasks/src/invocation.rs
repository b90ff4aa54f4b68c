//! `GET /api/tasks/{task_id}/invocations`: every target of a task, with its timeline.

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use shared::contract::task::{Invocation, Task};
use shared::db::Db;
use shared::error::Result;
use shared::http::list::{List, Paging, respond};
use shared::http::path::TaskPath;
use shared::store;

use crate::{Tasks, task};

pub fn routes() -> Router<Tasks> {
    Router::new().route("/api/tasks/{task_id}/invocations", get(list))
}

/// A task's invocations, by hostname.
struct OfTask {
    db: Db,
    task: Task,
}

impl List for OfTask {
    type Item = Invocation;
    type Cursor = String;

    fn start(&self) -> String {
        String::new()
    }

    async fn after(&self, hostname: String, limit: usize) -> Result<Vec<(String, Invocation)>> {
        let rows = store::invocation::page(&self.db, &self.task, &hostname, limit).await?;
        Ok(rows.into_iter().map(|row| (row.hostname.clone(), row)).collect())
    }
}

async fn list(State(tasks): State<Tasks>, TaskPath(id): TaskPath, paging: Paging) -> Result<Response> {
    let task = task::find(&tasks, &id).await?;
    respond(OfTask { db: tasks.ctx.db, task }, paging).await
}
