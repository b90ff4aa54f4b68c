//! What the plane says of a task, as everybody can read it over HTTP.

use axum::Router;
use axum::body::Body;
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use serde::de::DeserializeOwned;
use tower::ServiceExt as _;

use crate::contract::task::{Evidence, Invocation, Problem, Task, TaskResult};
use crate::error::{Error, Kind, Result};
use crate::http::client::Client;

/// How often a task is read that changes while it is read.
const READS_MAX: usize = 10;

/// What the plane says of a task, all of it of one moment.
#[derive(Debug)]
pub struct Record {
    /// The task.
    pub task: Task,
    /// Every server's invocation.
    pub invocations: Vec<Invocation>,
    /// What the servers signed, as it is shown.
    pub results: Vec<TaskResult>,
    /// What the servers signed, byte for byte.
    pub evidence: Option<Evidence>,
}

/// Where a record comes from.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// A plane elsewhere.
    Http(&'a Client),
    /// Routes in this process.
    Routes(&'a Router),
}

impl Record {
    /// Reads all there is of a task. A task that changes meanwhile is read again.
    ///
    /// # Errors
    /// Not found when there is no such task; unavailable when it changes too fast to be read.
    pub async fn collect(source: Source<'_>, task_id: &str) -> Result<Self> {
        let path = format!("/api/tasks/{task_id}");
        for _ in 0..READS_MAX {
            let record = Self {
                task: source.get(&path).await?,
                invocations: source.get(&format!("{path}/invocations")).await?,
                results: source.get(&format!("{path}/results")).await?,
                evidence: Some(source.get(&format!("{path}/evidence")).await?),
            };
            let after: Task = source.get(&path).await?;
            if after.counts == record.task.counts {
                return Ok(record);
            }
        }
        Err(Error::unavailable("the task changes while it is read; check it again when it is over"))
    }

    /// The invocation of a server.
    pub fn invocation(&self, hostname: &str) -> Option<&Invocation> {
        self.invocations.iter().find(|invocation| invocation.hostname == hostname)
    }

    /// The result of a server, as it is shown.
    pub fn result(&self, hostname: &str) -> Option<&TaskResult> {
        self.results.iter().find(|result| result.hostname == hostname)
    }
}

impl Source<'_> {
    async fn get<T: DeserializeOwned>(self, path: &str) -> Result<T> {
        match self {
            Self::Http(client) => client.get(path).await,
            Self::Routes(routes) => get(routes, path).await,
        }
    }
}

async fn get<T: DeserializeOwned>(routes: &Router, path: &str) -> Result<T> {
    let request = Request::get(path).body(Body::empty()).map_err(Error::internal)?;
    let Ok(response) = routes.clone().oneshot(request).await;
    let status = response.status();
    let body = response.into_body().collect().await.map_err(Error::internal)?.to_bytes();
    if status.is_success() {
        return serde_json::from_slice(&body).map_err(Error::internal);
    }
    let problem: Problem = serde_json::from_slice(&body).map_err(Error::internal)?;
    let kind = if status == StatusCode::NOT_FOUND { Kind::NotFound } else { Kind::Unavailable };
    Err(Error::new(kind, problem.detail))
}
