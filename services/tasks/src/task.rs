//! `GET /api/tasks` and `GET /api/tasks/{task_id}`.

use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use axum::{Json, Router};
use shared::contract::task::Task;
use shared::db::Db;
use shared::error::{Error, Result};
use shared::http::list::{List, Paging, respond};
use shared::http::path::TaskPath;
use shared::id::TaskId;
use shared::store;

use crate::Tasks;

pub fn routes() -> Router<Tasks> {
    Router::new().route("/api/tasks", get(list)).route("/api/tasks/{task_id}", get(show))
}

/// All tasks, from the newest on.
struct All(Db);

impl List for All {
    type Item = Task;
    type Cursor = String;

    fn start(&self) -> String {
        "~".to_owned() // behind every hexadecimal digit
    }

    async fn after(&self, before: String, limit: usize) -> Result<Vec<(String, Task)>> {
        let tasks = store::task::page(&self.0, &before, limit).await?;
        Ok(tasks.into_iter().map(|task| (task.task_id.clone(), task)).collect())
    }
}

async fn list(State(tasks): State<Tasks>, paging: Paging) -> Result<Response> {
    respond(All(tasks.ctx.db), paging).await
}

async fn show(State(tasks): State<Tasks>, TaskPath(id): TaskPath) -> Result<Json<Task>> {
    find(&tasks, &id).await.map(Json)
}

/// The task with this id.
pub async fn find(tasks: &Tasks, id: &TaskId) -> Result<Task> {
    let task = store::task::find(&tasks.ctx.db, id.as_str()).await?;
    task.ok_or_else(|| Error::not_found("there is no task with this id"))
}
