//! The simulator: the real relay, agents, ingestor, watchdog and routes in one process, over a manual
//! clock, SQLite and the in-process bus, and a seed that chooses what happens next: work, and faults.
//!
//! `MUSTER_SIM_SEEDS=n` runs so many seeds, from `MUSTER_SIM_FIRST` on; `MUSTER_SIM_SEED=n` runs that one
//! alone and prints its history.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says so")]

mod action;
mod coverage;
mod drive;
mod end;
mod host;
mod machine;
mod plane;
#[expect(dead_code, reason = "shared with the fault suite")]
mod random;
mod template;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use coverage::Coverage;
use machine::Stop;
use serde_json::{Value, json};
use world::{Asked, World};

/// Seeds that are run unless told otherwise.
const SEEDS: u64 = 2_000;
/// What happens in a seed before everything heals.
const ACTIONS: usize = 140;

/// What came of a seed.
struct Outcome {
    violations: Vec<String>,
    history: Vec<String>,
    coverage: Coverage,
}

fn run(seed: u64) -> Outcome {
    let mut world = World::new(seed);
    for _ in 0..ACTIONS {
        action::act(&mut world);
    }
    end::end(&mut world);
    let mut violations: Vec<_> = world.violations.iter().map(ToString::to_string).collect();
    violations.dedup();
    Outcome { violations, history: std::mem::take(&mut world.history), coverage: std::mem::take(&mut world.coverage) }
}

/// The same; a panic is a violation like any other.
fn run_caught(seed: u64) -> Outcome {
    catch_unwind(AssertUnwindSafe(|| run(seed))).unwrap_or_else(|panic| {
        let what = panic.downcast_ref::<String>().cloned().unwrap_or_else(|| "it panicked".to_owned());
        Outcome { violations: vec![what], history: Vec::new(), coverage: Coverage::default() }
    })
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

/// Prints what a seed did and what it broke.
fn tell(seed: u64, outcome: &Outcome) {
    println!("seed {seed}: {} violations; repeat it with MUSTER_SIM_SEED={seed}", outcome.violations.len());
    outcome.history.iter().for_each(|line| println!("    {line}"));
    outcome.violations.iter().for_each(|violation| println!("  {violation}"));
}

/// Runs seeds on every processor.
fn run_all(seeds: std::ops::Range<u64>) -> (Vec<u64>, Coverage) {
    template::template();
    let (next, failed, coverage) =
        (AtomicU64::new(seeds.start), Mutex::new(Vec::new()), Mutex::new(Coverage::default()));
    let threads = std::thread::available_parallelism().unwrap().get();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if seed >= seeds.end {
                        return;
                    }
                    let outcome = run_caught(seed);
                    coverage.lock().unwrap().add(&outcome.coverage);
                    if !outcome.violations.is_empty() {
                        tell(seed, &outcome);
                        failed.lock().unwrap().push(seed);
                    }
                }
            });
        }
    });
    (failed.into_inner().unwrap(), coverage.into_inner().unwrap())
}

#[test]
fn every_seed_keeps_every_promise() {
    if let Some(seed) = number("MUSTER_SIM_SEED") {
        let outcome = run_caught(seed);
        tell(seed, &outcome);
        assert!(outcome.violations.is_empty(), "seed {seed} breaks a promise");
        return;
    }
    let seeds = number("MUSTER_SIM_SEEDS").unwrap_or(SEEDS);
    let first = number("MUSTER_SIM_FIRST").unwrap_or(0);
    let (failed, coverage) = run_all(first..first + seeds);
    println!("{seeds} seeds\n{coverage}");
    if seeds >= SEEDS {
        coverage::MUST_HAPPEN.iter().for_each(|(kind, what)| assert!(coverage.of(kind, what) > 0, "no {kind}: {what}"));
    }
    assert!(failed.is_empty(), "{} of {seeds} seeds break a promise: {failed:?}", failed.len());
}

#[test]
fn a_seed_is_one_run() {
    for seed in [1, 2, 3, 4, 5] {
        let (one, other) = (run(seed), run(seed));
        assert_eq!(one.history, other.history, "seed {seed}");
        assert_eq!(one.coverage.to_string(), other.coverage.to_string(), "seed {seed}");
    }
}

/// A power cut takes back that a command was leased and published, and not that its agent ran it. Then a
/// cancel must not believe that nobody has it.
#[test]
fn after_a_power_cut_nothing_is_taken_back_that_an_agent_may_have() {
    let mut world = World::new(0);
    world.gone = None;
    let body = json!({ "target_type": "all", "command": "good 0" });
    world.asked.push(Asked { number: 0, key: None, body, task_id: None });
    assert_eq!(world.ask(0), Some(201));
    world.plane.relay().unwrap().unwrap();
    let disk = world.plane.machine.disk.clone();
    world.hosts.iter_mut().for_each(|host| while host.take(&disk, false).unwrap().unwrap() > 0 {});
    assert_eq!(world.seen().runs.len(), world.hosts.len());
    world.hosts.iter_mut().for_each(host::Host::disconnect);
    world.plane.restart(Stop::PowerCut);
    let path = format!("/api/tasks/{}/cancel", world.asked[0].task_id.clone().unwrap());
    world.plane.call("POST", &path, None, &Value::Null).unwrap();
    end::end(&mut world);
    assert_eq!(world.violations, []);
}
