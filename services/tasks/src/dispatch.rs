//! How a command is accepted: resolve the targets, sign for those that get it at once, and store
//! everything that the answer promises in one transaction. After the commit the relay is rung for.
//!
//! Targets are resolved to hostnames here and now; who joins a group later is not meant. They are
//! read before the transaction; a server that is deleted in between is found out by the relay. The
//! signature, which takes longest, is made while the rest is written.

use std::sync::Arc;
use std::time::Duration;

use shared::clock::Time;
use shared::contract::task::{NewCommand, TargetType, Task};
use shared::crash::{self, Point};
use shared::db::Tx;
use shared::error::{self, Error, Result};
use shared::id::TaskId;
use shared::rules::invocation::Times;
use shared::rules::limits::{EXPIRES_IN_SECS_DEFAULT, TIMEOUT_SECS_DEFAULT};
use shared::rules::rollout::{self, Limits};
use shared::rules::task::{Counts, Status};
use shared::store;
use shared::store::outbox::Leased;
use shared::store::rollout::Rollout;
use shared::store::task::{NewTask, Order};
use shared::telemetry::TraceContext;

use crate::Tasks;
use crate::handover::Place;
use crate::wave::Wave;

/// The number of the wave that goes out at once.
const FIRST_WAVE: i64 = 1;

/// Who asks for a task.
pub struct Caller {
    /// The caller's name.
    pub name: String,
    /// The caller's key for asking again, and the digest of what was asked.
    pub idempotency: Option<(String, String)>,
    /// The trace it belongs to.
    pub trace: TraceContext,
}

/// A command that somebody asks for, parsed.
pub struct Request {
    /// What to run, and where.
    pub command: NewCommand,
    /// Who asks.
    pub caller: Caller,
}

/// Accepts a command: what it returns is stored.
pub async fn accept(tasks: &Tasks, request: Request) -> Result<Task> {
    if let Some(known) = answered_before(tasks, &request.caller).await? {
        return Ok(known);
    }
    let hostnames = resolve(tasks, &request.command).await?;
    make(tasks, request, hostnames, None).await
}

/// Makes a task for these servers, sorted by name; `retry_of` is the task that it repeats.
pub async fn make(tasks: &Tasks, request: Request, hostnames: Vec<String>, retry_of: Option<&str>) -> Result<Task> {
    let draft = Draft::new(request, retry_of, hostnames.len(), tasks.ctx.clock.now());
    let stored = store(tasks, &draft, hostnames).await;
    // Of two callers with the same key at the same moment, the second learns the first one's task.
    if stored.as_ref().is_err_and(|error| error.kind() == error::Kind::Conflict)
        && let Some(known) = answered_before(tasks, &draft.caller).await?
    {
        return Ok(known);
    }
    stored?;
    Ok(draft.answer())
}

/// The task that the caller made under the same key before.
pub async fn answered_before(tasks: &Tasks, caller: &Caller) -> Result<Option<Task>> {
    let Some((key, digest)) = &caller.idempotency else { return Ok(None) };
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
    order: Order,
    command: NewCommand,
    caller: Caller,
    trace_id: String,
    retry_of: Option<String>,
    targets: i64,
    limits: Option<Limits>,
    created_at: Time,
    /// How long each wave may wait for its servers, in seconds.
    expires_in: i64,
}

impl Draft {
    fn new(request: Request, retry_of: Option<&str>, targets: usize, now: Time) -> Self {
        let Request { command, caller } = request;
        let targets = targets as i64;
        let timeout = command.timeout.unwrap_or(TIMEOUT_SECS_DEFAULT);
        let expires_in = command.expires_in.unwrap_or(EXPIRES_IN_SECS_DEFAULT);
        let limits = Limits::of(command.max_concurrency, command.max_errors);
        let whole = limits.map_or(expires_in, |limits| rollout::expires_in(limits, targets, expires_in, timeout));
        let whole = command.rollout_expires_in.map_or(whole, |asked| whole.min(asked));
        let order = Order {
            task_id: TaskId::new(now).to_string(),
            command: command.command.clone(),
            timeout,
            user: command.user.clone(),
            expires_at: now.plus(secs(whole)).0,
            requested_by: caller.name.clone(),
            traceparent: caller.trace.traceparent(),
        };
        let expires_in = expires_in.min(whole);
        let (trace_id, retry_of) = (caller.trace.trace_id(), retry_of.map(str::to_owned));
        Self { order, command, caller, trace_id, retry_of, targets, limits, created_at: now, expires_in }
    }

    /// The times of the whole task.
    fn times(&self) -> Times {
        Times::new(self.order.expires_at, self.order.timeout)
    }

    /// How many servers get it at once.
    fn window(&self) -> i64 {
        self.limits.map_or(self.targets, |limits| limits.max_concurrency.concurrency(self.targets)).min(self.targets)
    }

    fn row(&self) -> NewTask<'_> {
        NewTask {
            task_id: &self.order.task_id,
            target_type: self.command.target_type,
            target: self.command.target.as_deref(),
            command: &self.order.command,
            timeout: self.order.timeout,
            user: self.order.user.as_deref(),
            created_at: self.created_at,
            expires_at: self.times().expires_at,
            requested_by: &self.order.requested_by,
            trace_id: &self.trace_id,
            traceparent: &self.order.traceparent,
            limits: self.limits,
            retry_of: self.retry_of.as_deref(),
            idempotency: self.caller.idempotency.as_ref().map(|(key, digest)| (key.as_str(), digest.as_str())),
            targets: self.targets,
        }
    }

    /// What is still held back once the first wave is out, if anything.
    fn rollout(&self, wave: &Wave) -> Option<Rollout> {
        let limits = self.limits?;
        let held = self.targets - self.window();
        (held > 0).then(|| Rollout {
            task_id: self.order.task_id.clone(),
            max_concurrency: self.window(),
            max_errors: limits.max_errors.errors(self.targets),
            expires_in: self.expires_in,
            held,
            wave: FIRST_WAVE,
            released_to: wave.last_hostname().to_owned(),
        })
    }

    fn answer(self) -> Task {
        let counts = Counts::queued(self.targets);
        let times = self.times();
        Task {
            task_id: self.order.task_id,
            target_type: self.command.target_type,
            target: self.command.target,
            command: self.order.command,
            timeout: self.order.timeout,
            user: self.order.user,
            status: Status::Sent,
            created_at: self.created_at,
            expires_at: times.expires_at,
            deadline: times.deadline(),
            is_final: counts.is_final(),
            targets: counts.targets(),
            counts: counts.by_name(),
            cancel_requested_at: None,
            trace_id: self.trace_id,
            max_concurrency: self.limits.map(|limits| limits.max_concurrency),
            max_errors: self.limits.map(|limits| limits.max_errors),
            retry_of: self.retry_of,
        }
    }
}

fn secs(seconds: i64) -> Duration {
    Duration::from_secs(seconds.unsigned_abs())
}

async fn store(tasks: &Tasks, draft: &Draft, mut hostnames: Vec<String>) -> Result<()> {
    let now = draft.created_at;
    let held = hostnames.split_off(usize::try_from(draft.window()).map_err(Error::internal)?);
    let expires_at = now.plus(secs(draft.expires_in));
    let wave = Wave::new(&draft.order, FIRST_WAVE, hostnames, (now, expires_at)).await?;
    let place = wave.place(&tasks.handover);
    let signing = wave.sign(Arc::clone(&tasks.key));
    let (signed, (mut tx, leased)) = tokio::try_join!(signing, write(tasks, draft, &wave, &held, place.as_ref()))?;
    store::wave::insert(&mut tx, &signed).await?;
    crash::point(Point::AcceptWritten);
    let (handover, bell) = (tasks.handover.clone(), tasks.ctx.bell.clone());
    let commit = async move {
        tx.commit().await?;
        crash::point(Point::AcceptCommitted);
        if let Some(place) = place {
            handover.put(wave.parcel(place, signed, leased));
        }
        bell.ring();
        Ok(())
    };
    // A task of its own, as it must not end in the middle when the caller hangs up: what is accepted
    // would lie there until its lease has run out.
    TraceContext::spawn(commit).await.map_err(Error::internal)?
}

/// Writes all that needs no signature. Returns also the rows of the outbox that are to be handed over.
async fn write(
    tasks: &Tasks,
    draft: &Draft,
    wave: &Wave,
    held: &[String],
    place: Option<&Place>,
) -> Result<(Tx, Vec<Leased>)> {
    let now = draft.created_at;
    let mut tx = tasks.ctx.db.begin().await?;
    store::task::insert(&mut tx, &draft.row()).await?;
    crash::point(Point::AcceptTask);
    store::invocation::insert(&mut tx, wave.key(), wave.times(), &wave.rows(), now).await?;
    let leased = wave.enqueue(&mut tx, place).await?;
    if let Some(rollout) = draft.rollout(wave) {
        store::invocation::hold(&mut tx, &rollout.task_id, draft.times().deadline(), held, now).await?;
        store::rollout::insert(&mut tx, &rollout).await?;
    }
    Ok((tx, leased))
}
