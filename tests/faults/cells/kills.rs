//! Programs that are killed at random moments, paused, and run twice.

use std::time::Duration;

use futures::FutureExt as _;

use crate::cell::{Cell, Ground, Lane};
use crate::random::Random;
use crate::rig::SERVICES;

const AGENT: &str = "one";
/// Commands that are sent meanwhile.
const COMMANDS: usize = 20;
/// How long a paused program stands still.
const BRIEFLY: Duration = Duration::from_secs(3);
const LONG: Duration = Duration::from_secs(60);

pub fn lane() -> Lane {
    let victims: Vec<_> = SERVICES.into_iter().chain([AGENT]).collect();
    let mut cells: Vec<_> = victims.iter().map(|name| killed(name)).collect();
    cells.extend(victims.iter().map(|name| paused(name, BRIEFLY)));
    cells.push(twice());
    cells.extend(victims.iter().map(|name| paused(name, LONG).only_full()));
    Lane { name: "kills", ground: Ground::Shared, cells }
}

fn killed(name: &'static str) -> Cell {
    Cell::new(format!("kill -9 {name}"), "killed three times at random moments under load", move |rig, repetition| {
        async move {
            let mut random = Random::new(u64::from(repetition) * 31 + name.len() as u64);
            let sending = rig.caller.sending(COMMANDS);
            for _ in 0..3 {
                tokio::time::sleep(random.up_to_millis(500)).await;
                rig.kill(name);
                tokio::time::sleep(random.up_to_millis(300)).await;
                rig.revive(name);
            }
            sending.done().await;
        }
        .boxed()
    })
}

fn paused(name: &'static str, lasting: Duration) -> Cell {
    Cell::new(format!("SIGSTOP {name}, {} s", lasting.as_secs()), "paused under load", move |rig, _| {
        async move {
            let sending = rig.caller.sending(COMMANDS);
            tokio::time::sleep(Duration::from_millis(150)).await;
            rig.pause(name, lasting).await;
            sending.done().await;
        }
        .boxed()
    })
}

/// Two relays, two watchdogs and two ingestors, of which one or the other is killed.
fn twice() -> Cell {
    Cell::new("two of each", "two relays, watchdogs and ingestors; one and the other killed", |rig, repetition| {
        async move {
            let mut random = Random::new(u64::from(repetition) + 1_000);
            let firsts = ["muster-tasks", "muster-result-ingestor"];
            let seconds = firsts.map(|name| rig.second(name));
            let names: Vec<_> = firsts.iter().map(|name| (*name).to_owned()).chain(seconds.clone()).collect();
            let sending = rig.caller.sending(2 * COMMANDS);
            for name in &names {
                tokio::time::sleep(random.up_to_millis(300)).await;
                rig.kill(name);
                rig.revive(name);
            }
            sending.done().await;
            for second in seconds {
                rig.stack.processes.remove(&second); // and with it it is killed
            }
        }
        .boxed()
    })
}
