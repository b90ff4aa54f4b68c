//! The agent's line: commands that wait their turn, however many, and over a restart of the agent.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use agent::exec::{End, Exec, Outcome, Script, Scripted};
use agent::{Agent, Settings};
use shared::bus::{Consumer, consume, topology};
use shared::store;

use crate::harness::PATIENCE;
use crate::steps::{Parts, keys, over_both};

/// More than may wait once the queue has been drained.
const MANY: usize = 1_050;

async fn agent(parts: &Parts, running_max: usize) -> (Agent, Consumer, Scripted) {
    let folder = parts.folder.path().join("agent");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("agent-key.pem"), keys()[1].to_pem().unwrap()).unwrap();
    let plane_keys = store::signing_key::all(&parts.ctx.db).await.unwrap();
    let mut settings = Settings::new("a", folder, plane_keys).unwrap();
    settings.running_max = running_max;
    settings.key_is_new = true; // so that the journal does not refuse what was signed at the same moment
    let scripted = Scripted::new(|_| Script::Ends(Outcome::new(End::Exited(0), "done")));
    let start = Instant::now();
    let agent = loop {
        let exec = Exec::Scripted(scripted.clone());
        let opened = Agent::open(settings.clone(), parts.ctx.bus.clone(), parts.ctx.clock.clone(), exec).await;
        match opened {
            Ok(agent) => break agent,
            // The run before lets go of the folder when its last task has ended.
            Err(error) => assert!(start.elapsed() < PATIENCE, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    let consumer = agent.service().consumers.remove(0);
    (agent, consumer, scripted)
}

/// Takes everything that waits for the agent, as after an attach; returns how much that was.
async fn drain(parts: &Parts, consumer: &Consumer) -> usize {
    let mut hold = parts.ctx.bus.subscribe(&topology::agent_queue("a")).await.unwrap();
    consumer.handler.attached();
    let mut taken = 0;
    loop {
        match consume::step(&mut hold, consumer).await.unwrap() {
            (0, _) => return taken,
            (handled, again) => {
                assert!(!again, "while draining nothing is refused");
                taken += handled;
            }
        }
    }
}

/// Lets the agent hand in and the ingestor take until every task is over, and ended in `state`.
async fn until_reported(parts: &Parts, agent: &Agent, tasks: &[String], state: &str) {
    let spool = agent.service().chores.into_iter().find(|chore| chore.name == "spool").unwrap();
    let (mut left, mut since) = (i64::MAX, Instant::now());
    loop {
        (spool.work)().await.unwrap();
        parts.ingest().await;
        let mut states = BTreeSet::new();
        for task in [tasks.first(), tasks.last()].into_iter().flatten() {
            states.insert(parts.state(task).await);
        }
        let (open,): (i64,) = shared::read!(&parts.ctx.db, c =>
            sqlx::query_as("select count(*) from tasks where sent + queued + accepted + running > 0").fetch_one(c).await)
        .unwrap();
        if open == 0 {
            assert_eq!(states, BTreeSet::from([state.to_owned()]));
            return;
        }
        if open < left {
            (left, since) = (open, Instant::now());
        }
        assert!(since.elapsed() < PATIENCE, "{open} tasks stay open");
        tokio::task::yield_now().await;
    }
}

async fn a_backlog_longer_than_the_line_is_taken_and_run(parts: Parts) {
    let mut tasks = Vec::new();
    for _ in 0..MANY {
        tasks.push(parts.send().await);
    }
    for _ in 0..=MANY / 500 {
        parts.relay().await;
    }
    let (agent, consumer, scripted) = agent(&parts, 4).await;
    assert_eq!(drain(&parts, &consumer).await, MANY);
    until_reported(&parts, &agent, &tasks, "succeeded").await;
    let ran: BTreeSet<_> = scripted.log().into_iter().map(|job| job.task_id).collect();
    assert_eq!((ran.len(), scripted.log().len()), (MANY, MANY), "each once");
    agent.finish(Duration::from_secs(5)).await;
}
over_both!(a_backlog_longer_than_the_line_is_taken_and_run);

async fn what_waited_too_long_is_rejected_to_the_last_one(parts: Parts) {
    let mut tasks = Vec::new();
    for _ in 0..20 {
        tasks.push(parts.send().await);
    }
    parts.relay().await;
    let (first, consumer, _) = agent(&parts, 2).await;
    consumer.handler.attached(); // and never drained: everything is accepted, nothing is started
    let mut hold = parts.ctx.bus.subscribe(&topology::agent_queue("a")).await.unwrap();
    assert_eq!(consume::step(&mut hold, &consumer).await.unwrap(), (20, false));
    drop(hold);
    first.finish(Duration::ZERO).await;
    drop((first, consumer)); // and with them their hold on the folder
    parts.ctx.clock.advance(Duration::from_secs(3_600));
    let (second, consumer, scripted) = agent(&parts, 2).await;
    assert_eq!(drain(&parts, &consumer).await, 0);
    until_reported(&parts, &second, &tasks, "rejected").await;
    assert!(scripted.log().is_empty(), "nothing starts after its time");
}
over_both!(what_waited_too_long_is_rejected_to_the_last_one);
