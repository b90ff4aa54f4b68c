//! What the plane makes of heartbeats: presence, what an agent says is wrong, and whether two agents
//! share one identity.

use std::time::Duration;

use shared::bus::{consume, topology};
use shared::clock::Time;
use shared::contract::server::{Presence, Server};
use shared::contract::signed::{Heartbeat, Kind};
use shared::rules::limits::{CLONE_TURNS_MIN, CLONE_TURNS_WITHIN, FORK_SHOWN_FOR, HEARTBEAT_EVERY};
use shared::store;

use crate::steps::{Parts, over_both};

fn beat(now: Time, boot_id: &str, counter: u64) -> Heartbeat {
    Heartbeat {
        iss: "a".into(),
        boot_id: boot_id.into(),
        previous_boot_id: None,
        counter,
        sent_at: now,
        cpu_usage: 1.0,
        memory_usage: 2.0,
        agent_version: "0.1.0".into(),
        running: 0,
        spooled: 0,
        trouble: None,
    }
}

/// What is shown of the server once these heartbeats have been taken, all in one batch.
async fn heard(parts: &Parts, beats: &[Heartbeat]) -> Server {
    for beat in beats {
        parts.report(Kind::Heartbeat, beat).await;
    }
    let consumers = result_ingestor::service(parts.ctx.clone()).consumers;
    let consumer = consumers.iter().find(|consumer| consumer.queue == topology::HEARTBEATS).unwrap();
    let mut hold = parts.ctx.bus.subscribe(topology::HEARTBEATS).await.unwrap();
    consume::step(&mut hold, consumer).await.unwrap();
    shown(parts).await
}

async fn shown(parts: &Parts) -> Server {
    store::server::find(&parts.ctx.db, "a", parts.ctx.clock.now()).await.unwrap().unwrap()
}

async fn what_an_agent_says_is_wrong_is_shown_until_it_is_over(parts: Parts) {
    let now = parts.ctx.clock.now();
    let trouble = Some(format!("the disk is full{}", "!".repeat(400)));
    let server = heard(&parts, &[Heartbeat { trouble, ..beat(now, "1", 1) }]).await;
    assert_eq!((server.status, server.warnings.len()), (Presence::Online, 1));
    assert!(server.warnings[0].starts_with("the disk is full") && server.warnings[0].len() == 255);
    let page = store::server::page(&parts.ctx.db, "", 10, now).await.unwrap();
    assert_eq!(page[0].warnings, server.warnings, "in the list too");
    assert!(heard(&parts, &[beat(now, "1", 2)]).await.warnings.is_empty());
}
over_both!(what_an_agent_says_is_wrong_is_shown_until_it_is_over);

async fn a_server_whose_clock_was_ahead_once_comes_back_and_replays_do_not_count(parts: Parts) {
    let now = parts.ctx.clock.now();
    heard(&parts, &[beat(now.plus(Duration::from_secs(10 * 365 * 86_400)), "ffff", 9)]).await;
    parts.ctx.clock.advance(Duration::from_secs(60));
    let now = parts.ctx.clock.now();
    let mended = [beat(now, "1000", 1), beat(now, "1000", 2)];
    let server = heard(&parts, &mended).await;
    assert_eq!((server.status, server.last_heartbeat), (Presence::Online, Some(now)));
    assert!(server.warnings.is_empty(), "once is no clone: {:?}", server.warnings);
    parts.ctx.clock.advance(Duration::from_secs(300));
    let replayed = [mended.as_slice(), &[beat(now, "ffff", 9), beat(now, "ffff", 10)]].concat();
    let server = heard(&parts, &replayed).await;
    assert_eq!((server.status, server.last_heartbeat), (Presence::Offline, Some(now)), "they are old");
}
over_both!(a_server_whose_clock_was_ahead_once_comes_back_and_replays_do_not_count);

async fn two_agents_with_one_identity_are_noticed_and_one_restarted_is_not(parts: Parts) {
    let restarts: Vec<_> = (1..30).map(|run| beat(parts.ctx.clock.now(), &format!("{run:04}"), 1)).collect();
    assert!(heard(&parts, &restarts).await.warnings.is_empty());
    for counter in 1..=CLONE_TURNS_MIN.cast_unsigned() {
        assert!(shown(&parts).await.warnings.is_empty(), "not yet at {counter}");
        parts.ctx.clock.advance(HEARTBEAT_EVERY);
        let now = parts.ctx.clock.now();
        let run = if counter % 2 == 0 { "1001" } else { "1000" };
        heard(&parts, &[beat(now, run, 100 + counter)]).await;
        heard(&parts, &[beat(now, "1002", counter)]).await;
        if shown(&parts).await.warnings.iter().any(|warning| warning.contains("two agents")) {
            break;
        }
    }
    let warnings = shown(&parts).await.warnings;
    assert!(warnings.iter().any(|warning| warning.contains("two agents")), "{warnings:?}");
    parts.ctx.clock.advance(CLONE_TURNS_WITHIN + HEARTBEAT_EVERY);
    let alone = beat(parts.ctx.clock.now(), "1002", 1_000);
    assert!(heard(&parts, &[alone]).await.warnings.is_empty(), "once one of them was stopped");
}
over_both!(two_agents_with_one_identity_are_noticed_and_one_restarted_is_not);

async fn a_journal_that_was_put_back_is_noticed(parts: Parts) {
    let now = parts.ctx.clock.now();
    let run = |boot_id: &str, previous: &str| {
        let previous_boot_id = Some(previous.to_owned());
        Heartbeat { previous_boot_id, ..beat(now, boot_id, 1) }
    };
    assert!(heard(&parts, &[beat(now, "1", 1), run("2", "1"), run("3", "2")]).await.warnings.is_empty());
    let server = heard(&parts, &[run("5", "2")]).await;
    assert!(server.warnings[0].contains("does not know of its own last run"), "{:?}", server.warnings);
    assert_eq!(heard(&parts, &[run("6", "5")]).await.warnings.len(), 1, "it stays said for a while");
    parts.ctx.clock.advance(FORK_SHOWN_FOR + HEARTBEAT_EVERY);
    assert!(shown(&parts).await.warnings.is_empty());
    let mut tx = parts.ctx.db.begin().await.unwrap();
    assert!(store::server::delete(&mut tx, "a").await.unwrap());
    let server = shared::contract::server::NewServer { hostname: "a".into(), ip: None, group: None };
    store::server::insert(&mut tx, &server, now).await.unwrap();
    tx.commit().await.unwrap();
    assert!(shown(&parts).await.warnings.is_empty(), "a server that is registered anew has no past");
}
over_both!(a_journal_that_was_put_back_is_noticed);
