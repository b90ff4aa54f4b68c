//! The gate: what arrives is verified, judged, journalled and only then acknowledged.
//!
//! A batch is one write to the journal. Whatever is not authentic is given up with its reason and
//! never answered. An authentic command that may not run is answered with a signed `rejected`. What
//! is known already is acknowledged, and what is spooled of it goes out again by itself. A cancel is
//! remembered whether or not its command has come, because it may overtake it.

use std::time::Duration;

use futures::future::BoxFuture;
use shared::bus::{Delivery, Handler, Verdict};
use shared::clock::Time;
use shared::contract::signed::{Cancel, Command};
use shared::crash::{self, Point};
use shared::error::{Result, chain};
use shared::metrics;
use shared::sign::{Authentic, Inbound, Refusal, Verified, inbound};
use shared::telemetry::TraceContext;
use tokio_util::sync::CancellationToken;

use crate::Agent;
use crate::exec::Account;
use crate::journal::{Entry, JobId, KeptCancel, Known, Phase};
use crate::report::End;
use crate::state::Waiting;

/// How long a cancel is remembered beyond its own time.
const CANCEL_KEPT: Duration = Duration::from_secs(24 * 3_600);

/// How far the clock may be behind the newest time in the journal. A clock that is further behind takes
/// commands for valid whose time is over.
const CLOCK_BEHIND_MAX: Duration = Duration::from_secs(5 * 60);

/// A command that may start.
pub struct Admitted {
    pub command: Verified<Command>,
    pub account: Account,
    pub traceparent: Option<String>,
    pub stop: CancellationToken,
}

/// What a batch comes to: what is written, and what happens once that is on the disk.
#[derive(Default)]
struct Plan {
    is_full: bool,
    known: Known,
    entries: Vec<Entry>,
    cancels: Vec<KeptCancel>,
    start: Vec<Admitted>,
    wait: Vec<Waiting>,
    stop: Vec<String>,
    /// Taken out of the line already, so that nothing starts them while they are being concluded.
    withdrawn: Vec<Waiting>,
}

impl Plan {
    fn refuses(&self, command: &Authentic<Command>) -> bool {
        self.is_full && !self.known.jobs.contains_key(&command.body().task_id)
    }
}

impl Handler for Agent {
    fn attached(&self) {
        self.0.state.attached();
    }

    fn handle(&self, mut deliveries: Vec<Delivery>) -> BoxFuture<'_, Vec<Verdict>> {
        Box::pin(async move {
            let spans: Vec<_> = deliveries.iter_mut().map(|delivery| delivery.enter("process command")).collect();
            let admitted = self.admit(&deliveries).await;
            drop(spans);
            admitted.unwrap_or_else(|error| {
                // No journal, no execution: the broker keeps the commands until there is one. What is wrong
                // with it was logged once; this comes with every try.
                tracing::debug!(cause = chain(&error), "commands could not be journalled; none was run");
                vec![Verdict::Again; deliveries.len()]
            })
        })
    }

    fn drained(&self) {
        self.0.state.drained();
        self.start_waiting();
    }
}

impl Agent {
    async fn admit(&self, deliveries: &[Delivery]) -> Result<Vec<Verdict>> {
        self.mend().await?;
        // A full agent takes no new commands, but cancels it takes: they may be the remedy.
        let is_full = self.spool_is_full() || self.0.state.is_crowded() || self.0.state.is_stuck();
        let mut plan = Plan { is_full, ..Plan::default() };
        let outcome = self.judge_all(deliveries, &mut plan).await;
        if outcome.is_ok() {
            self.carry_out(plan);
            crash::point(Point::AgentAdmitted);
        } else {
            plan.start.iter().for_each(|admitted| self.0.state.leave(&admitted.command.body().task_id));
            plan.withdrawn.into_iter().for_each(|waiting| self.0.state.wait(waiting));
        }
        outcome
    }

    fn carry_out(&self, plan: Plan) {
        plan.stop.iter().for_each(|task_id| self.0.state.stop(task_id));
        for waiting in plan.wait {
            self.announce_later(&waiting);
            self.0.state.wait(waiting);
        }
        plan.start.into_iter().for_each(|admitted| self.launch(admitted));
        if plan.entries.iter().any(|entry| entry.spooled().is_some()) {
            self.0.spool_bell.ring();
        }
    }

    async fn judge_all(&self, deliveries: &[Delivery], plan: &mut Plan) -> Result<Vec<Verdict>> {
        crash::point(Point::AgentReceived);
        let now = self.0.clock.now();
        let open = |delivery: &Delivery| inbound(&delivery.body, &self.0.hostname, &self.0.plane, now);
        let opened: Vec<_> = deliveries.iter().map(open).collect();
        let ids: Vec<_> = opened.iter().flatten().map(task_id).collect();
        plan.known = self.0.journal.known(&ids).await?;
        let mut verdicts = Vec::with_capacity(deliveries.len());
        for (delivery, message) in deliveries.iter().zip(opened) {
            let judged = match message {
                Ok(Inbound::Command(command)) if plan.refuses(&command) => {
                    tracing::warn!("the spool, the line or the disk is full; a command stays with the broker");
                    verdicts.push(Verdict::Again);
                    continue;
                }
                Ok(Inbound::Command(command)) => {
                    self.judge_command(command, delivery, plan).await?;
                    Ok(())
                }
                // Of a command that waits it would make a result at once.
                Ok(Inbound::Cancel(cancel)) if !self.has_room() && self.0.state.is_waiting(&cancel.body().task_id) => {
                    verdicts.push(Verdict::Again);
                    continue;
                }
                Ok(Inbound::Cancel(cancel)) => self.judge_cancel(cancel, plan).await?,
                Err(refusal) => Err(refusal),
            };
            verdicts.push(match judged {
                Ok(()) => Verdict::Done,
                Err(refusal) => {
                    metrics::refused("agent", refusal);
                    TraceContext::within(delivery.traceparent.as_deref(), || {
                        tracing::warn!(reason = refusal.as_str(), "a message was not believed");
                    });
                    Verdict::Dead(refusal.as_str().to_owned())
                }
            });
        }
        self.0.journal.admit(&plan.entries, &plan.cancels).await?;
        crash::point(Point::AgentJournalled);
        Ok(verdicts)
    }

    async fn judge_command(&self, command: Authentic<Command>, arrived: &Delivery, plan: &mut Plan) -> Result<()> {
        let id = (command.body().task_id.as_str(), command.digest());
        if plan.known.jobs.contains_key(id.0) {
            return Ok(()); // known: its result is stored, spooled, or still to come
        }
        plan.known.jobs.insert(id.0.to_owned(), id.1.to_owned());
        let (trace, issued_at) = (arrived.traceparent.as_deref(), command.body().issued_at);
        if plan.known.cancelled.contains(&(id.0.to_owned(), id.1.to_owned())) {
            plan.entries.push(self.conclude(id, End::cancelled_before(), trace)?.issued(issued_at));
            return Ok(());
        }
        let now = self.0.clock.now();
        let Some(stop) = self.0.state.take_place(id.0, self.0.running_max) else {
            plan.entries.push(Entry::arrived(id, Phase::Accepted, arrived, now).issued(issued_at));
            plan.wait.push(Waiting { command, traceparent: arrived.traceparent.clone() });
            return Ok(());
        };
        match self.permit(command.clone()).await {
            Ok((command, account)) => {
                plan.entries.push(Entry::arrived(id, Phase::Starting, arrived, now).issued(issued_at));
                plan.start.push(Admitted { command, account, traceparent: arrived.traceparent.clone(), stop });
            }
            Err(reason) => {
                self.0.state.leave(id.0);
                plan.entries.push(self.conclude(id, End::rejected(reason), trace)?.issued(issued_at));
            }
        }
        Ok(())
    }

    /// A cancel is for one command, which it names by its digest: it is kept for when that comes, or
    /// ends it where it stands. For another command under the same task's id it is not believed.
    async fn judge_cancel(&self, cancel: Authentic<Cancel>, plan: &mut Plan) -> Result<Result<(), Refusal>> {
        let cancel = match cancel.in_time(self.0.clock.now()) {
            Ok(cancel) => cancel,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let (task_id, digest) = (&cancel.body().task_id, &cancel.body().command_digest);
        if plan.known.jobs.get(task_id).is_some_and(|known| known != digest) {
            return Ok(Err(Refusal::WrongDigest));
        }
        plan.cancels.push((task_id.clone(), digest.clone(), cancel.body().expires_at.plus(CANCEL_KEPT)));
        plan.known.cancelled.insert((task_id.clone(), digest.clone()));
        let is_it = |waiting: &Waiting| waiting.command.body().task_id == *task_id;
        let waiting = match plan.wait.iter().position(is_it) {
            Some(place) => Some(plan.wait.remove(place)),
            None => self.0.state.withdraw(task_id).inspect(|waiting| plan.withdrawn.push(waiting.clone())),
        };
        match waiting {
            Some(waiting) => {
                let (id, issued_at) = ((task_id.as_str(), waiting.command.digest()), waiting.command.body().issued_at);
                let entry = self.conclude(id, End::cancelled_before(), waiting.traceparent.as_deref())?;
                plan.entries.retain(|entry| !entry.is_of(task_id)); // accepted in this very batch
                plan.entries.push(entry.issued(issued_at));
            }
            None => plan.stop.push(task_id.clone()),
        }
        Ok(Ok(()))
    }

    /// Whether a command may run here and now: by a clock that has not gone back, in time, newer than the
    /// journal, allowed by the host's policy, and as an account that the agent may become. Else the
    /// reason, in words.
    pub(crate) async fn permit(&self, command: Authentic<Command>) -> Result<(Verified<Command>, Account), String> {
        let now = self.0.clock.now();
        if now.plus(CLOCK_BEHIND_MAX) < self.0.journal.not_before() {
            return Err(format!(
                "this server's clock says {now}, but it was {} already; set the clock",
                self.0.journal.not_before()
            ));
        }
        let command = command.in_time(now).map_err(|refusal| untimely(refusal, now))?;
        let body = command.body();
        if body.issued_at < self.0.journal.epoch() {
            return Err("it was signed before this agent's journal was made, so it may have run already".to_owned());
        }
        let wanted = body.user.as_deref().unwrap_or(&self.0.account.name);
        self.0.policy.judge(wanted, &body.command, body.timeout).map_err(|refusal| refusal.to_string())?;
        if wanted == self.0.account.name {
            return Ok((command, self.0.account.clone()));
        }
        // A directory service may have to be asked, so not on the thread that serves everybody.
        let (own, wanted) = (self.0.account.clone(), wanted.to_owned());
        let account = tokio::task::spawn_blocking(move || own.becoming(Some(&wanted))).await;
        match account {
            Ok(account) => account.map(|account| (command, account)).map_err(|error| error.to_string()),
            Err(_) => Err("the account could not be looked up".to_owned()),
        }
    }

    /// The journal's entry for a command that does not run, with its result.
    pub(crate) fn conclude(&self, id: JobId<'_>, end: End, trace: Option<&str>) -> Result<Entry> {
        TraceContext::within(trace, || {
            tracing::info!(task_id = id.0, status = ?end.status, reason = end.reason, "a command does not run");
        });
        Ok(Entry::finished(id, self.result(id, end)?, trace, self.0.clock.now()))
    }
}

/// Why a command was rejected for its time, in words.
fn untimely(refusal: Refusal, now: Time) -> String {
    match refusal {
        Refusal::Expired => "its time was over before it could start".to_owned(),
        Refusal::FromTheFuture => {
            format!("it was signed later than this server's clock says it is ({now}); set the clock")
        }
        other => format!("its times are not as they must be ({other})"),
    }
}

fn task_id(message: &Inbound) -> &str {
    match message {
        Inbound::Command(command) => &command.body().task_id,
        Inbound::Cancel(cancel) => &cancel.body().task_id,
    }
}
