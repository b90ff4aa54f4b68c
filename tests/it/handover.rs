//! Commands that are handed over to the relay of the process that accepts them.

use std::time::Duration;

use serde_json::json;
use shared::rules::limits::COMMAND_BYTES_MAX;
use shared::store;

use crate::steps::{Parts, over_both};

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
