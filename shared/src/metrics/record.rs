//! The measurements, one function each. A label is a word of the program, never of a caller.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use http::Method;
use metrics::{counter, gauge, histogram};

use super::catalogue::*;
use crate::bus::{Address, Receipt, Verdict, topology};
use crate::error::Result;
use crate::rules::invocation::Status;
use crate::sign::Refusal;

/// Samples after which the histograms are folded.
const TIDY_EVERY: u32 = 4_096;

/// A request was answered with `status`, or its caller left before.
pub fn request(service: &'static str, method: &Method, route: &str, status: Option<u16>, took: Duration) {
    let (method, route) = (known(method), route.to_owned());
    let status = status.map_or_else(|| "gone".to_owned(), |status| status.to_string());
    counter!(HTTP_REQUESTS, "service" => service, "method" => method, "route" => route.clone(), "status" => status)
        .increment(1);
    let seconds = histogram!(HTTP_SECONDS, "service" => service, "method" => method, "route" => route);
    sample(&seconds, took.as_secs_f64());
}

/// A method may be any word at all.
const fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

/// What became of a published message.
pub fn published(to: &Address, outcome: &Result<Receipt>) {
    let outcome = match outcome {
        Ok(Receipt::Confirmed) => "confirmed",
        Ok(Receipt::Returned) => "returned",
        Err(_) => "failed",
    };
    counter!(BUS_PUBLISHED, "to" => queue(&to.queue()), "outcome" => outcome).increment(1);
}

/// Messages were taken from a queue.
pub fn delivered(name: &str, messages: usize) {
    counter!(BUS_DELIVERED, "queue" => queue(name)).increment(messages as u64);
}

/// Messages of a queue were settled.
pub fn settled(name: &str, verdicts: &[Verdict]) {
    let count = |word: &'static str, is: fn(&Verdict) -> bool| {
        let settled = verdicts.iter().filter(|verdict| is(verdict)).count() as u64;
        counter!(BUS_VERDICTS, "queue" => queue(name), "verdict" => word).increment(settled);
    };
    count("done", |verdict| matches!(verdict, Verdict::Done));
    count("again", |verdict| matches!(verdict, Verdict::Again));
    count("dead", |verdict| matches!(verdict, Verdict::Dead(_)));
}

/// All agents' queues are one here: a series for each server would be too many.
fn queue(name: &str) -> &'static str {
    match name {
        topology::RESULTS => "results",
        topology::HEARTBEATS => "heartbeats",
        topology::DEAD => "dead",
        name if topology::is_agent_queue(name) => "agent",
        _ => "other",
    }
}

/// How many rows the outbox has, and how old the oldest is.
pub fn backlog(rows: i64, oldest: Duration) {
    gauge!(OUTBOX_ROWS).set(rows as f64);
    gauge!(OUTBOX_OLDEST).set(oldest.as_secs_f64());
}

/// Invocations came into a state.
pub fn invocations(state: Status, number: usize) {
    counter!(INVOCATIONS, "state" => state.as_str()).increment(number as u64);
}

/// The verifier refused a message that was addressed to the `plane` or to an `agent`.
pub fn refused(by: &'static str, reason: Refusal) {
    counter!(REFUSALS, "by" => by, "reason" => reason.as_str()).increment(1);
}

/// A heartbeat showed that something is wrong with the identity of its agent.
pub fn identity(sign: &'static str) {
    counter!(IDENTITY_SIGNS, "sign" => sign).increment(1);
}

/// A message was put with the dead letters. Whoever put it there wrote the reason, so only known words
/// become labels.
pub fn dead_letter(reason: &str) {
    let known = Refusal::ALL.into_iter().map(Refusal::as_str).find(|known| *known == reason);
    counter!(DEAD_LETTERS, "reason" => known.unwrap_or("other")).increment(1);
}

/// Dead letters had to make room for others.
pub fn dead_letters_dropped(number: u64) {
    counter!(DEAD_LETTERS_DROPPED).increment(number);
}

/// The ingestor handled a batch.
pub fn ingested(queue: &'static str, messages: usize) {
    sample(&histogram!(INGEST_BATCH, "queue" => queue), messages as f64);
}

/// The watchdog decided invocations.
pub fn decided(state: Status, number: usize) {
    counter!(WATCHDOG_VERDICTS, "state" => state.as_str()).increment(number as u64);
}

/// Retention removed `outputs`, `tasks` or `results`.
pub fn removed(what: &'static str, number: u64) {
    counter!(RETENTION_REMOVED, "what" => what).increment(number);
}

/// A command began or ended on an agent of this process.
pub fn running(change: f64) {
    gauge!(AGENT_RUNNING).increment(change);
}

/// The spool of an agent of this process grew or shrank.
pub fn spooled(before: usize, after: usize) {
    gauge!(AGENT_SPOOLED).increment(after as f64 - before as f64);
}

fn sample(histogram: &metrics::Histogram, value: f64) {
    static SAMPLES: AtomicU32 = AtomicU32::new(0);
    histogram.record(value);
    if SAMPLES.fetch_add(1, Ordering::Relaxed) % TIDY_EVERY == TIDY_EVERY - 1 {
        super::tidy();
    }
}
