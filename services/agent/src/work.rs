//! Running what the gate admitted, and taking up what an earlier run of the agent left behind.
//!
//! By the time a job is launched here, the journal says `starting`; from then on it either ends with
//! a result or is found by [`Agent::resume`] after a crash, killed, and reported as
//! interrupted. Only a verified command can be launched: the type asks for it.

use std::convert::Infallible;
use std::time::Duration;

use shared::clock::Time;
use shared::contract::signed::Progress;
use shared::crash::{self, Point};
use shared::error::{Result, chain};
use shared::rules::backoff::Backoff;
use shared::sign::{Inbound, inbound};
use shared::telemetry::{self, Span, TraceContext};
use tokio_util::sync::CancellationToken;

use crate::Agent;
use crate::exec::{Job, Leftovers, Mark, Outcome, Running, StartError, kill_leftovers};
use crate::gate::Admitted;
use crate::journal::{Entry, JobId, Phase, Spooled, Unfinished};
use crate::report::End;
use crate::state::Waiting;

impl Agent {
    /// Runs an admitted command to its end, in the background.
    pub(crate) fn launch(&self, admitted: Admitted) {
        let agent = self.clone();
        self.0.state.jobs().spawn(async move {
            let task_id = admitted.command.body().task_id.clone();
            let trace = admitted.traceparent.as_deref().and_then(TraceContext::parse);
            let run = agent.run(admitted);
            let ran = match trace {
                Some(trace) => trace.scope(run).await,
                None => run.await,
            };
            if let Err(error) = ran {
                // Journalled, it is handed in by the spool; else the next run of the agent reports it.
                tracing::warn!(task_id, cause = chain(&error), "a command's end could not be reported yet");
            }
            agent.0.state.leave(&task_id);
            agent.start_waiting();
        });
    }

    async fn run(&self, admitted: Admitted) -> Result<()> {
        let Admitted { command, account, traceparent, stop } = admitted;
        let body = command.body();
        let span = Span::carry_on("run", telemetry::Kind::Internal, traceparent.as_deref());
        let context = span.as_ref().map(Span::context);
        let trace = context.as_ref().map(TraceContext::traceparent);
        let job = Job {
            task_id: body.task_id.clone(),
            hostname: self.0.hostname.clone(),
            command: body.command.clone(),
            account,
            timeout: Duration::from_secs(u64::from(body.timeout)),
            traceparent: trace.clone(),
        };
        let id = (body.task_id.as_str(), command.digest());
        let end =
            if stop.is_cancelled() { End::cancelled_before() } else { self.start_and_follow(id, job, &stop).await };
        drop(span);
        self.end(id, end, trace.as_deref()).await
    }

    async fn start_and_follow(&self, id: JobId<'_>, job: Job, stop: &CancellationToken) -> End {
        let started_at = self.0.clock.now();
        let trace = job.traceparent.clone();
        crash::point(Point::AgentStarting);
        match self.start(job).await {
            Ok(running) => {
                crash::point(Point::AgentForked);
                let outcome = self.follow(id, running, stop.cancelled(), trace.as_deref()).await;
                End::of(outcome, started_at, self.0.clock.now())
            }
            Err(error) => End::not_started(&error, started_at),
        }
    }

    /// Starts a job: as the agent's own account here and now, which takes less than changing threads
    /// would; as another one on a thread that may block, since its home may be on a dead file server.
    async fn start(&self, job: Job) -> Result<Running, StartError> {
        if job.account.uid == self.0.account.uid {
            return self.0.exec.start(&job);
        }
        let agent = self.clone();
        let started = tokio::task::spawn_blocking(move || agent.0.exec.start(&job)).await;
        started.unwrap_or_else(|error| Err(StartError::Spawn(std::io::Error::other(error))))
    }

    /// Waits for a job's end; notes where its process is, and says so when it lasts.
    async fn follow(
        &self,
        id: JobId<'_>,
        running: Running,
        cancel: impl Future<Output = ()>,
        trace: Option<&str>,
    ) -> Outcome {
        let mark = running.mark().cloned();
        let beside = async {
            if let Some(mark) = mark {
                self.note(id.0, &mark).await;
                crash::point(Point::AgentMarked);
            }
            self.announce_when_lasting(id, Progress::Running, trace).await;
            std::future::pending::<Infallible>().await
        };
        tokio::select! {
            outcome = running.finish(cancel) => outcome,
            never = beside => match never {},
        }
    }

    async fn note(&self, task_id: &str, mark: &Mark) {
        // Best effort: without the mark, leftovers are still found by their environment.
        if let Err(error) = self.0.journal.mark(task_id, mark).await {
            tracing::warn!(task_id, cause = chain(&error), "where a command runs could not be journalled");
        }
    }

    /// Journals a job's end together with its result, signs that while the disk is at it, and hands it in.
    async fn end(&self, id: JobId<'_>, end: End, trace: Option<&str>) -> Result<()> {
        crash::point(Point::AgentExited);
        let result = self.result(id, end)?;
        let entry = [Entry::finished(id, result.clone(), trace, self.0.clock.now())];
        let spooled = Spooled { task_id: id.0.to_owned(), result, traceparent: trace.map(str::to_owned) };
        let (journalled, message) = tokio::join!(self.journal_end(id, &entry), async { self.seal(&spooled) });
        journalled?;
        crash::point(Point::AgentSpooled);
        self.hand_in(&[spooled], vec![message?]).await
    }

    /// What a command did is not forgotten because the disk is full: its place stays taken until the
    /// journal has it.
    async fn journal_end(&self, id: JobId<'_>, entry: &[Entry]) -> Result<()> {
        let (mut failures, mut _stuck) = (0, None);
        while let Err(error) = self.0.journal.write(entry).await {
            _stuck = Some(self.0.state.stick());
            if self.0.journal.is_closed() {
                return Err(error);
            }
            failures += 1;
            tracing::warn!(task_id = id.0, cause = chain(&error), "a result cannot be journalled; trying again");
            self.0.clock.sleep(Backoff::WORK.wait(failures)).await;
        }
        Ok(())
    }

    /// Starts what waits, as far as there are places.
    pub(crate) fn start_waiting(&self) {
        while self.has_room()
            && let Some((waiting, stop)) = self.0.state.next(self.0.running_max)
        {
            let agent = self.clone();
            self.0.state.jobs().spawn(async move {
                let task_id = waiting.command.body().task_id.clone();
                match agent.prepare(waiting.clone(), stop).await {
                    Ok(Some(admitted)) => return agent.launch(admitted),
                    Ok(None) => agent.0.spool_bell.ring(),
                    Err(error) => {
                        let cause = chain(&error);
                        tracing::error!(task_id, cause, "an accepted command could not be journalled; it waits again");
                        agent.0.clock.sleep(Backoff::WORK.most).await;
                        agent.0.state.wait(waiting);
                    }
                }
                agent.0.state.leave(&task_id);
                agent.start_waiting();
            });
        }
    }

    /// Journals that a waiting command starts now, or that it may not.
    async fn prepare(&self, waiting: Waiting, stop: CancellationToken) -> Result<Option<Admitted>> {
        let Waiting { command, traceparent } = waiting;
        let permit = self.permit(command.clone()).await;
        let id = (command.body().task_id.as_str(), command.digest());
        match permit {
            Ok((command, account)) => {
                self.0.journal.start(id.0).await?;
                crash::point(Point::AgentPrepared);
                Ok(Some(Admitted { command, account, traceparent, stop }))
            }
            Err(reason) => {
                let entry = self.conclude(id, End::rejected(reason), traceparent.as_deref())?;
                self.0.journal.write(&[entry]).await.map(|()| None)
            }
        }
    }

    /// Makes the journal usable if it is not, as far as that can be done without a person: opens it and
    /// takes up what the last run of the agent left, or sees whether the disk can be written again.
    ///
    /// # Errors
    /// Nothing may be admitted yet: the journal cannot be used, or not all of it was taken up.
    pub(crate) async fn mend(&self) -> Result<()> {
        let now = self.0.clock.now();
        self.0.is_ready.get_or_try_init(|| self.resume(now)).await?;
        if self.0.journal.trouble().is_some() { self.0.journal.probe(now).await } else { Ok(()) }
    }

    /// Takes up what the last run of the agent left unfinished. May be done again after a failure, as
    /// long as nothing else was admitted.
    async fn resume(&self, now: Time) -> Result<()> {
        self.0.journal.open(now).await?;
        self.0.journal.record(self.0.boot).await?;
        let mut accepted = Vec::new();
        for job in self.0.journal.unfinished().await? {
            match job.phase {
                Phase::Accepted => accepted.extend(self.take_up(job).await?),
                Phase::Starting | Phase::Finished => self.interrupt(job).await?,
            }
        }
        accepted.into_iter().for_each(|waiting| self.0.state.wait(waiting));
        Ok(())
    }

    /// A job that had not started may start now, once it has been verified again.
    async fn take_up(&self, job: Unfinished) -> Result<Option<Waiting>> {
        match inbound(&job.message, &self.0.hostname, &self.0.plane, self.0.clock.now()) {
            Ok(Inbound::Command(command)) => return Ok(Some(Waiting { command, traceparent: job.traceparent })),
            Ok(Inbound::Cancel(_)) => self.give_up(&job, End::rejected("it is not a command".to_owned())).await?,
            Err(refusal) => {
                let reason = format!("it cannot be believed any more ({refusal})");
                self.give_up(&job, End::rejected(reason)).await?;
            }
        }
        Ok(None)
    }

    /// A job that had started is never started again: what is left of it is ended, and said so.
    async fn interrupt(&self, job: Unfinished) -> Result<()> {
        let left = kill_leftovers(&job.task_id, &self.0.hostname, job.mark.as_ref()).await;
        crash::point(Point::AgentInterrupting);
        let reason = match left {
            Leftovers::None => "the agent stopped while it ran; how it ended is not known",
            Leftovers::Killed => "the agent stopped while it ran; what was left of it was killed",
            Leftovers::Survived => "the agent stopped while it ran; some of its processes could not be killed",
        };
        self.give_up(&job, End::interrupted(reason.to_owned())).await
    }

    async fn give_up(&self, job: &Unfinished, end: End) -> Result<()> {
        let entry = self.conclude((&job.task_id, &job.digest), end, job.traceparent.as_deref())?;
        self.0.journal.write(&[entry]).await
    }
}
