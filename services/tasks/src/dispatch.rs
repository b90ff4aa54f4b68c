//! How a command is accepted: resolve the targets, sign once for all of them, and store everything
//! that the answer promises in one transaction. After the commit the relay is rung for.
//!
//! Targets are resolved to hostnames here and now; who joins a group later is not meant. They are
//! read before the transaction, because signing takes longer than writing; a server that is deleted
//! in between is found out by the relay.

use std::sync::Arc;
use std::time::Duration;

use shared::clock::Time;
use shared::contract::envelope::Proof;
use shared::contract::signed::{Command, Kind, PLANE, Targets};
use shared::contract::task::{NewCommand, TargetType, Task};
use shared::error::{self, Error, Result};
use shared::id::TaskId;
use shared::rules::invocation::Times;
use shared::rules::limits::{EXPIRES_IN_SECS_DEFAULT, TIMEOUT_SECS_DEFAULT};
use shared::rules::task::{Counts, Status};
use shared::sign::{Envelope, SigningKey, Tree};
use shared::store::task::NewTask;
use shared::store::{self, outbox};
use shared::telemetry::TraceContext;

use crate::Tasks;

/// Targets up to which a command is signed where it is accepted.
const SMALL_TARGETS: usize = 64;

/// A command that somebody asks for, parsed.
pub struct Request {
    /// What to run, and where.
    pub command: NewCommand,
    /// The caller's key for asking again, and the digest of what was asked.
    pub idempotency: Option<(String, String)>,
    /// Who asks.
    pub requested_by: String,
    /// The trace it belongs to.
    pub trace: TraceContext,
}

/// Accepts a command: what it returns is stored.
pub async fn accept(tasks: &Tasks, request: Request) -> Result<Task> {
    if let Some(known) = answered_before(tasks, &request).await? {
        return Ok(known);
    }
    let hostnames = resolve(tasks, &request.command).await?;
    let draft = Draft::new(&request, tasks.ctx.clock.now());
    let signed = sign(Arc::clone(&tasks.key), &draft, request.requested_by.clone(), hostnames).await?;
    let stored = store(tasks, &draft, &request, &signed).await;
    // Of two callers with the same key at the same moment, the second learns the first one's task.
    if stored.as_ref().is_err_and(|error| error.kind() == error::Kind::Conflict)
        && let Some(known) = answered_before(tasks, &request).await?
    {
        return Ok(known);
    }
    stored?;
    tasks.ctx.bell.ring();
    Ok(draft.answer(&request, signed.hostnames.len()))
}

async fn answered_before(tasks: &Tasks, request: &Request) -> Result<Option<Task>> {
    let Some((key, digest)) = &request.idempotency else { return Ok(None) };
    let Some((task_id, known)) = store::task::by_idempotency_key(&tasks.ctx.db, key).await? else { return Ok(None) };
    if known != *digest {
        return Err(Error::conflict(
            "this `Idempotency-Key` was used with another body; use a new key for a new command",
        ));
    }
    store::task::find(&tasks.ctx.db, &task_id).await
}

async fn resolve(tasks: &Tasks, command: &NewCommand) -> Result<Vec<String>> {
    let target = command.target.as_deref();
    let hostnames = store::server::targets(&tasks.ctx.db, command.target_type, target).await?;
    match (command.target_type, target.unwrap_or_default()) {
        (TargetType::Node, name) if hostnames.is_empty() => {
            Err(Error::not_found(format!("there is no server named `{name}`; register it first")))
        }
        (TargetType::Group, name) if hostnames.is_empty() => {
            Err(Error::not_found(format!("no server is in the group `{}`", name.escape_debug())))
        }
        _ => Ok(hostnames),
    }
}

/// What is settled about a task before it is signed.
struct Draft {
    task_id: TaskId,
    command: NewCommand,
    timeout: i64,
    created_at: Time,
    times: Times,
}

impl Draft {
    fn new(request: &Request, now: Time) -> Self {
        let command = request.command.clone();
        let timeout = command.timeout.unwrap_or(TIMEOUT_SECS_DEFAULT);
        let expires_in = command.expires_in.unwrap_or(EXPIRES_IN_SECS_DEFAULT);
        let times = Times { expires_at: now.plus(secs(expires_in)), timeout: secs(timeout) };
        Self { task_id: TaskId::new(now), command, timeout, created_at: now, times }
    }

    fn answer(self, request: &Request, targets: usize) -> Task {
        let counts = Counts::queued(targets as i64);
        Task {
            task_id: self.task_id.to_string(),
            target_type: self.command.target_type,
            target: self.command.target,
            command: self.command.command,
            timeout: self.timeout,
            user: self.command.user,
            status: Status::Sent,
            created_at: self.created_at,
            expires_at: self.times.expires_at,
            deadline: self.times.deadline(),
            is_final: counts.is_final(),
            targets: counts.targets(),
            counts: counts.by_name(),
            cancel_requested_at: None,
            trace_id: request.trace.trace_id(),
        }
    }
}

fn secs(seconds: i64) -> Duration {
    Duration::from_secs(seconds.unsigned_abs())
}

/// A signed command with its targets.
struct Signed {
    hostnames: Vec<String>,
    proofs: Vec<Proof>,
    envelope: Envelope,
    keyid: String,
}

/// Signs here when that is one RSA operation and little more (under a millisecond: less than a change
/// of threads would save), on a thread for such work when a large tree comes with it.
async fn sign(key: Arc<SigningKey>, draft: &Draft, requested_by: String, hostnames: Vec<String>) -> Result<Signed> {
    let mut command = Command {
        iss: PLANE.to_owned(),
        task_id: draft.task_id.to_string(),
        command: draft.command.command.clone(),
        user: draft.command.user.clone(),
        timeout: u32::try_from(draft.timeout).map_err(Error::internal)?,
        issued_at: draft.created_at,
        expires_at: draft.times.expires_at,
        targets: Targets { count: hostnames.len() as u64, root: String::new() },
        requested_by,
    };
    let small = hostnames.len() <= SMALL_TARGETS;
    let work = move || {
        let tree = Tree::new(hostnames.iter().map(String::as_str));
        command.targets.root = tree.root();
        let payload = serde_json::to_vec(&command).map_err(Error::internal)?;
        let envelope = Envelope::sign(Kind::Command, payload, &key)?;
        let proofs = (0..hostnames.len()).map(|index| tree.proof(index)).collect();
        Ok(Signed { hostnames, proofs, envelope, keyid: key.keyid().to_owned() })
    };
    if small { work() } else { tokio::task::spawn_blocking(work).await.map_err(Error::internal)? }
}

async fn store(tasks: &Tasks, draft: &Draft, request: &Request, signed: &Signed) -> Result<()> {
    let traceparent = request.trace.traceparent();
    let task_id = draft.task_id.as_str();
    let task = NewTask {
        task_id,
        target_type: draft.command.target_type,
        target: draft.command.target.as_deref(),
        command: &draft.command.command,
        timeout: draft.timeout,
        user: draft.command.user.as_deref(),
        created_at: draft.created_at,
        expires_at: draft.times.expires_at,
        requested_by: &request.requested_by,
        trace_id: &request.trace.trace_id(),
        traceparent: &traceparent,
        envelope: &signed.envelope.to_json(),
        command_digest: &signed.envelope.digest(),
        keyid: &signed.keyid,
        idempotency: request.idempotency.as_ref().map(|(key, digest)| (key.as_str(), digest.as_str())),
        targets: signed.hostnames.len() as i64,
    };
    let entry = |hostname| outbox::Entry {
        kind: outbox::Kind::Command,
        task_id: Some(task_id),
        hostname,
        traceparent: Some(&traceparent),
        expires_at: Some(draft.times.expires_at),
    };
    let names = || signed.hostnames.iter().map(String::as_str);
    let invocations: Vec<_> = names().zip(signed.proofs.iter().cloned()).collect();
    let entries: Vec<_> = names().map(entry).collect();
    let mut tx = tasks.ctx.db.begin().await?;
    store::task::insert(&mut tx, &task).await?;
    store::invocation::insert(&mut tx, task_id, draft.times, &invocations, draft.created_at).await?;
    outbox::insert(&mut tx, &entries, draft.created_at).await?;
    tx.commit().await
}
