//! Commands that are handed over to the relay of the process that accepts them.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use serde_json::json;
use shared::rules::limits::COMMAND_BYTES_MAX;
use shared::store;

use crate::harness::PATIENCE;
use crate::steps::{Parts, over_both};

/// Callers that send a command until they are patient enough to hear the answer.
const CALLERS: usize = 20;

async fn what_is_handed_over_is_sent_by_the_own_relay_and_once(parts: Parts) {
    parts.own_relay().await;
    let task = parts.send().await;
    parts.relay().await;
    assert!(parts.take().await.is_empty(), "it is leased");
    parts.own_relay().await;
    assert_eq!(parts.take().await.len(), 1);
    assert_eq!(parts.state(&task).await, "sent");
    assert_eq!(store::outbox::backlog(&parts.ctx.db).await.unwrap().0, 0);
}
over_both!(what_is_handed_over_is_sent_by_the_own_relay_and_once);

async fn what_was_handed_over_to_a_relay_that_sleeps_is_sent_by_another_one_in_time(parts: Parts) {
    parts.own_relay().await;
    let task = parts.send().await;
    parts.ctx.clock.advance(Duration::from_secs(31));
    parts.relay().await;
    assert_eq!(parts.take().await.len(), 1);
    assert_eq!(parts.state(&task).await, "sent");
    parts.own_relay().await;
    assert!(parts.take().await.is_empty(), "its lease had run out");
}
over_both!(what_was_handed_over_to_a_relay_that_sleeps_is_sent_by_another_one_in_time);

async fn what_was_handed_over_too_late_is_not_sent(parts: Parts) {
    parts.own_relay().await;
    parts.send().await;
    parts.ctx.clock.advance(Duration::from_secs(16));
    parts.own_relay().await;
    assert!(parts.take().await.is_empty(), "its lease may run out at any moment");
    parts.ctx.clock.advance(Duration::from_secs(15));
    parts.relay().await;
    assert_eq!(parts.take().await.len(), 1);
}
over_both!(what_was_handed_over_too_late_is_not_sent);

async fn what_lives_short_is_not_handed_over(parts: Parts) {
    parts.own_relay().await;
    let body = json!({ "target_type": "all", "command": "true", "expires_in": 59 });
    parts.call("POST", "/api/commands", body).await;
    parts.relay().await;
    assert_eq!(parts.take().await.len(), 1, "any relay may send it");
}
over_both!(what_lives_short_is_not_handed_over);

async fn a_relay_that_does_not_come_is_handed_no_more(parts: Parts) {
    parts.own_relay().await;
    parts.send().await;
    parts.ctx.clock.advance(Duration::from_secs(2));
    parts.send().await;
    parts.relay().await;
    assert_eq!(parts.take().await.len(), 1, "the second one");
    parts.own_relay().await;
    assert_eq!(parts.take().await.len(), 1, "the first one");
}
over_both!(a_relay_that_does_not_come_is_handed_no_more);

async fn a_cancel_follows_what_is_handed_over(parts: Parts) {
    parts.own_relay().await;
    let task = parts.send().await;
    parts.call("POST", &format!("/api/tasks/{task}/cancel"), json!(null)).await;
    assert_eq!(parts.state(&task).await, "queued", "the relay has it");
    parts.own_relay().await;
    assert_eq!(parts.take().await.len(), 2, "the command and its cancel");
}
over_both!(a_cancel_follows_what_is_handed_over);

async fn what_there_is_no_room_for_waits_in_the_outbox(parts: Parts) {
    parts.own_relay().await;
    let long = "x".repeat(COMMAND_BYTES_MAX);
    for _ in 0..80 {
        parts.call("POST", "/api/commands", json!({ "target_type": "all", "command": long })).await;
    }
    parts.relay().await;
    let waited = parts.take().await.len();
    assert!((10..40).contains(&waited), "4 MiB hold most of them, and not all: {waited}");
    parts.own_relay().await;
    assert_eq!(parts.take().await.len(), 80 - waited);
    // What was sent makes room.
    parts.send().await;
    parts.relay().await;
    assert!(parts.take().await.is_empty());
    parts.own_relay().await;
    assert_eq!(parts.take().await.len(), 1);
}
over_both!(what_there_is_no_room_for_waits_in_the_outbox);

/// Whoever hangs up, at whatever moment: what is stored goes out, without waiting for its lease.
async fn what_a_caller_hung_up_on_is_sent_or_was_never_accepted(parts: Parts) {
    parts.own_relay().await;
    let mut hung_up = 0;
    for _ in 0..CALLERS {
        let mut looks = 1;
        while !is_answered_within(&parts, looks).await {
            until_sent(&parts, looks).await;
            (looks, hung_up) = (looks + 1, hung_up + 1);
        }
        until_sent(&parts, looks).await;
    }
    assert!(hung_up >= CALLERS, "each hung up at least while the command was signed: {hung_up}");
}
over_both!(what_a_caller_hung_up_on_is_sent_or_was_never_accepted);

async fn until_sent(parts: &Parts, looks: usize) {
    let start = Instant::now();
    while store::outbox::backlog(&parts.ctx.db).await.unwrap().0 > 0 {
        assert!(start.elapsed() < PATIENCE, "hung up at look {looks} or before it, and the command lies there");
        parts.own_relay().await;
    }
}

/// Sends a command, and hangs up when so many looks have brought no answer.
async fn is_answered_within(parts: &Parts, looks: usize) -> bool {
    let mut call = pin!(parts.send());
    let mut looked = 0;
    poll_fn(|context| {
        looked += 1;
        match call.as_mut().poll(context) {
            Poll::Pending if looked < looks => Poll::Pending,
            end => Poll::Ready(end.is_ready()),
        }
    })
    .await
}
