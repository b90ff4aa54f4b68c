//! `GET /api/tasks/{task_id}/evidence`: the signed bytes of a task with the keys that check them,
//! so that an auditor can verify it again, offline and after any rotation.

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use serde_json::value::RawValue;
use shared::contract::key::PlaneKey;
use shared::contract::task::{CommandEvidence, EvidenceHead, ResultEvidence};
use shared::db::Db;
use shared::error::{Error, Result};
use shared::http::list::{List, wrap};
use shared::http::path::TaskPath;
use shared::rules::limits::RESULT_ROWS;
use shared::store;
use shared::store::result::After;
use shared::store::wave::Signed;

use crate::{Tasks, task};

pub fn routes() -> Router<Tasks> {
    Router::new().route("/api/tasks/{task_id}/evidence", get(show))
}

struct Results {
    db: Db,
    task_id: String,
}

impl List for Results {
    type Item = ResultEvidence;
    type Cursor = After;
    const CHUNK: usize = RESULT_ROWS; // each may have a megabyte
    const PAGE: usize = RESULT_ROWS;

    fn start(&self) -> After {
        (i64::MIN, String::new())
    }

    async fn after(&self, after: After, limit: usize) -> Result<Vec<(After, ResultEvidence)>> {
        store::result::evidence(&self.db, &self.task_id, &after, limit).await
    }
}

async fn show(State(tasks): State<Tasks>, TaskPath(id): TaskPath) -> Result<Response> {
    task::find(&tasks, &id).await?;
    let db = tasks.ctx.db;
    let keys = store::signing_key::all(&db).await?;
    let waves = store::wave::of_task(&db, id.as_str()).await?;
    let commands = waves.into_iter().map(|wave| command(wave, &keys)).collect::<Result<_>>()?;
    let head = EvidenceHead { task_id: id.to_string(), commands };
    wrap(&head, "results", Results { db, task_id: id.to_string() }).await
}

fn command(wave: Signed, keys: &[PlaneKey]) -> Result<CommandEvidence> {
    let signing_key = keys.iter().find(|key| key.keyid == wave.keyid).cloned();
    Ok(CommandEvidence {
        wave: wave.wave,
        signing_key: signing_key.ok_or_else(|| Error::internal("a task whose signing key is not known"))?,
        command: RawValue::from_string(wave.envelope).map_err(Error::internal)?,
    })
}
