//! A service as an AWS Lambda function: the same value, given one event at a time. An HTTP event goes
//! to its routes, messages go to the consumer of their queue, and the schedule's event does each chore.
//!
//! Between two events the process is frozen, so nothing is left to a task that was spawned: what a
//! request rang the bell for is done before its answer, and the schedule comes round for the rest.
//! Connections are those of any process; one that dies in the freeze is made again at its next use.

mod environment;
mod event;
mod messages;

use std::time::Duration;

use axum::Router;
use axum::middleware::from_fn_with_state;
use futures::future::join_all;
use lambda_http::lambda_runtime::{Context, Diagnostic, LambdaEvent, Runtime, service_fn};
use lambda_http::{Adapter, request::LambdaRequest};
use serde_json::value::{RawValue, to_raw_value};
use tower::ServiceExt as _;
use tracing::Instrument as _;

pub(super) use self::environment::is_lambda;
use self::event::Event;
use super::probe::Parts;
use super::{Boot, Chore, Program, Service};
use crate::bus::{Bus, Consumer};
use crate::clock::{Clock, Time};
use crate::config::key::API_TOKEN;
use crate::error::{Error, Result, chain};
use crate::http::guard::{self, Guard};
use crate::http::layers;

/// How long the work that a request rang for may hold back its answer.
const RUNG_TIME_MAX: Duration = Duration::from_secs(2);
/// What work by the schedule leaves of the function's time, for the answer and the last spans.
const DEADLINE_MARGIN: Duration = Duration::from_secs(2);

/// Takes events until the process is ended. `after_each` is done when an event has been dealt with and
/// its answer not yet given, since the answer is the last thing before the freeze.
///
/// There is no loopback here, so a token is needed to start.
pub(super) async fn run(
    program: Program,
    build: impl AsyncFnOnce(&mut Boot) -> Result<Service>,
    after_each: impl AsyncFn(),
) -> Result<()> {
    environment::check(|name| std::env::var(name).ok())?;
    let mut boot = Boot::load(program.name)?;
    let admitted = Guard::token(&boot.settings().need_secret(API_TOKEN)?)?;
    let service = build(&mut boot).await?;
    tracing::info!(service = service.name, "ready");
    let function = Function::new(service, boot.parts(), admitted);
    let (function, after_each) = (&function, &after_each);
    let invoke = move |event| async move {
        let outcome = function.invoke(event).await;
        after_each().await;
        outcome
    };
    Runtime::new(service_fn(invoke)).run().await.map_err(Error::internal)
}

/// A service between its events.
struct Function {
    router: Router,
    consumers: Vec<Consumer>,
    chores: Vec<Chore>,
    bus: Option<Bus>,
}

impl Function {
    fn new(service: Service, parts: Parts, admitted: Guard) -> Self {
        let router = service.router(parts.clone()).layer(from_fn_with_state(admitted, guard::layer));
        for consumer in &service.consumers {
            consumer.attached.set(true); // the event source has the hold on its queue, and calls us
        }
        let Service { name, consumers, chores, .. } = service;
        Self { router: layers::around(name, router), consumers, chores, bus: parts.bus }
    }

    async fn invoke(&self, event: LambdaEvent<Box<RawValue>>) -> Result<Box<RawValue>, Diagnostic> {
        let (payload, context) = event.into_parts();
        let span = tracing::info_span!("invocation", request_id = context.request_id);
        let outcome = self.handle(&payload, context).instrument(span).await;
        outcome.map_err(|error| {
            tracing::error!(cause = chain(&error), "an event could not be dealt with");
            Diagnostic { error_type: format!("{:?}", error.kind()), error_message: error.detail().to_owned() }
        })
    }

    async fn handle(&self, payload: &RawValue, context: Context) -> Result<Box<RawValue>> {
        match Event::parse(payload)? {
            Event::Request(request) => return self.answer(*request, context).await,
            Event::Messages(messages) => messages::handle(messages, &self.consumers, self.bus.as_ref()).await?,
            Event::Schedule => exhaust(&self.chores, time_left(&context)).await?,
        }
        Ok(RawValue::NULL.to_owned())
    }

    /// Answers a request, after the work that it rang for. The answer stands whatever becomes of that
    /// work, because what was promised is in the database.
    async fn answer(&self, request: LambdaRequest, context: Context) -> Result<Box<RawValue>> {
        let time = RUNG_TIME_MAX.min(time_left(&context));
        let event = LambdaEvent::new(request, context);
        let answer = Adapter::from(self.router.clone()).oneshot(event).await.unwrap_or_else(|never| match never {});
        let rung = self.chores.iter().filter(|chore| chore.bell.take());
        exhaust(rung, time).await.ok(); // logged where it failed
        to_raw_value(&answer).map_err(Error::internal)
    }
}

/// How long a function may still work on an event.
fn time_left(context: &Context) -> Duration {
    let deadline = Time(i64::try_from(context.deadline).unwrap_or(i64::MAX));
    Clock::System.now().until(deadline).saturating_sub(DEADLINE_MARGIN)
}

/// Does chores side by side until none has more to do or the time is over. What is cut short then is
/// taken up again, as after the end of any process.
async fn exhaust(chores: impl IntoIterator<Item = &Chore>, time: Duration) -> Result<()> {
    let all = join_all(chores.into_iter().map(Chore::exhaust));
    let Ok(outcomes) = tokio::time::timeout(time, all).await else {
        tracing::info!("the time is over before the work; the schedule comes round for the rest");
        return Ok(());
    };
    outcomes.into_iter().collect()
}

#[cfg(test)]
mod tests;
