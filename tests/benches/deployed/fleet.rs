//! A task for 2,000 simulated agents, and what each part of the plane spends on it.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::cpu::{self, Seconds};
use crate::process::{Launch, program};
use crate::sample::Sample;
use crate::stack::{Stack, TOKEN};

/// Simulated agents.
pub const AGENTS: usize = 2_000;
/// Tasks of the longer run; the shorter has one, and what both spend alike cancels out.
const TASKS: usize = 6;

pub async fn measure() {
    let stack = Stack::new(&[]).await;
    run(&stack, 1); // enrols them, and makes their keys if that was not done before
    let (_, one) = counted(&stack, 1);
    let (figures, many) = counted(&stack, TASKS);
    for (what, field) in [
        ("POST to its answer", "answered_ms"),
        ("POST to the first stored result", "first_result_ms"),
        ("POST to the last stored result", "last_result_ms"),
    ] {
        times(&figures, field).print(&format!("{AGENTS} agents: {what}"));
    }
    for (name, seconds) in many {
        let each = (seconds - one[&name]) / (TASKS - 1) as f64;
        println!("    {name:<50} {each:.2} s of processor time a task");
    }
    let each = |field: &str| figures[field].as_f64().unwrap() / TASKS as f64;
    println!("    {:<50} {:.2} s of processor time a task", "simulator", each("cpu_seconds"));
    println!("    {:<50} {:.2} s of that", "simulator: verifying and signing, 2,048 bits", each("signing_cpu_seconds"));
    stack.stop();
}

fn times(figures: &Value, field: &str) -> Sample {
    let mut sample = Sample::default();
    for task in figures["tasks"].as_array().unwrap() {
        sample.push(Duration::from_secs_f64(task[field].as_f64().unwrap() / 1e3));
    }
    sample
}

/// The figures of a run, and what was spent meanwhile.
fn counted(stack: &Stack, tasks: usize) -> (Value, Seconds) {
    let before = cpu::of(stack);
    let figures = run(stack, tasks);
    let after = cpu::of(stack);
    (figures, after.into_iter().map(|(name, seconds)| (name.clone(), seconds - before[&name])).collect())
}

/// Where the keys of the simulated agents are kept from one run of the benchmark to the next.
pub fn keys() -> PathBuf {
    program("muster").ancestors().nth(2).unwrap().join("fleet-keys")
}

/// Runs `muster fleet`; what it enrols stays.
pub fn run(stack: &Stack, tasks: usize) -> Value {
    let (agents, tasks, keys) = (AGENTS.to_string(), tasks.to_string(), keys().display().to_string());
    let asked = ["fleet", "--agents", &agents, "--tasks", &tasks, "--keys", &keys, "--key-bits", "2048", "--keep"];
    let env = vec![
        ("MUSTER_URL", stack.url("")),
        ("MUSTER_TOKEN", TOKEN.to_owned()),
        ("MUSTER_BROKER_URL", stack.vhost.agent_url()),
    ];
    let log = stack.folder.path().join(format!("fleet-{}.json", shared::id::random()));
    let arguments = asked.into_iter().chain(["--json"]).map(str::to_owned).collect();
    let launch = Launch { name: "muster", arguments, env, log };
    assert!(launch.run_within(LONGEST).success(), "{}\n{}", launch.said(), stack.logs());
    serde_json::from_str(launch.said().trim()).unwrap()
}

/// How long a run may take: making 2,000 keys on a slow machine, above all.
const LONGEST: Duration = Duration::from_secs(900);
