//! A record in which every promise was kept, with a server for each way in which an invocation can
//! end, and what a witness saw of it. Tests break it in one place and look who notices.

use std::sync::OnceLock;

use serde::Serialize;
use serde_json::value::RawValue;

use super::{Invariant, Record, Run, Witness, check};
use crate::clock::Time;
use crate::contract::key::PlaneKey;
use crate::contract::signed::{Command, Kind, PLANE, ResultReport, Targets};
use crate::contract::task::{CommandEvidence, Evidence, Invocation, ResultEvidence, TargetType, Task, TaskResult};
use crate::rules::invocation::{DEADLINE_GRACE, Ending, Status};
use crate::rules::task::Counts;
use crate::sign::{Envelope, SigningKey, Tree};

/// The task.
pub const TASK: &str = "0198f2b4c3d27a6e8b1f0c9d5e4a3b21";
/// When commands began to run.
pub const STARTED: Time = Time(2_000);
/// Nothing starts after this.
const EXPIRES: Time = Time(1_000_000);
/// Every deadline is over.
pub const LATER: Time = Time(100_000_000);
/// How long the command may run, in seconds.
const TIMEOUT: i64 = 30;

/// The servers, in the order of the tree, with how each ended, and what it signed, if it did.
const HOSTS: [(&str, Status, Option<Ending>); 10] = [
    ("expired", Status::Expired, None),
    ("failed", Status::Failed, Some(Ending::Failed)),
    ("interrupted", Status::Interrupted, Some(Ending::Interrupted)),
    ("lost", Status::Lost, None),
    ("ok", Status::Succeeded, Some(Ending::Succeeded)),
    ("rejected", Status::Rejected, Some(Ending::Rejected)),
    ("skipped", Status::Skipped, None),
    ("stopped", Status::Cancelled, Some(Ending::Cancelled)),
    ("undeliverable", Status::Undeliverable, None),
    ("withdrawn", Status::Cancelled, None),
];

/// The plane's key and two for the servers, which take turns.
fn keys() -> &'static [SigningKey; 3] {
    static KEYS: OnceLock<[SigningKey; 3]> = OnceLock::new();
    KEYS.get_or_init(|| std::array::from_fn(|_| SigningKey::generate().unwrap()))
}

/// What was seen.
pub fn witness() -> Witness {
    let run = |hostname: &str| Run { task_id: TASK.to_owned(), hostname: hostname.to_owned(), at: Some(STARTED) };
    Witness { runs: ["ok", "failed"].map(run).to_vec(), ..Witness::default() }
}

/// What the plane says.
pub fn record() -> Record {
    let (command, digest) = seal(Kind::Command, &command(), &keys()[0]);
    let signers =
        || HOSTS.into_iter().enumerate().filter_map(|(place, (host, _, ending))| Some((place, host, ending?)));
    let reports: Vec<_> = signers().map(|(place, host, ending)| (place, report(host, ending, &digest))).collect();
    let invocations: Vec<_> = HOSTS.into_iter().map(invocation).collect();
    let mut counts = Counts::default();
    invocations.iter().for_each(|invocation| counts.0[invocation.status as usize] += 1);
    let signing_key = PlaneKey {
        keyid: keys()[0].keyid().to_owned(),
        algorithm: keys()[0].algorithm(),
        public_key_pem: keys()[0].public().to_pem().unwrap(),
    };
    let evidence = reports.iter().map(|(place, report)| signed(*place, report)).collect();
    Record {
        task: task(&counts),
        invocations,
        results: reports.iter().map(|(_, report)| shown(report)).collect(),
        evidence: Some(Evidence {
            task_id: TASK.to_owned(),
            commands: vec![CommandEvidence { wave: 1, signing_key, command }],
            results: evidence,
        }),
    }
}

/// What is said of `invariant` once `change` was made: there must be something.
pub fn broken(invariant: Invariant, change: impl FnOnce(&mut Record, &mut Witness)) -> String {
    let (mut record, mut witness) = (record(), witness());
    change(&mut record, &mut witness);
    let found = check(&record, Some(&witness), LATER);
    let said: Vec<_> = found.iter().filter(|one| one.invariant == invariant).map(|one| one.what.as_str()).collect();
    assert!(!said.is_empty(), "{invariant:?} is broken, and nobody noticed: {found:?}");
    said.join("; ")
}

/// Makes an invocation one that has not ended, in every place that tells of it.
pub fn reopen(record: &mut Record, hostname: &str, status: Status) {
    let one = record.invocations.iter_mut().find(|invocation| invocation.hostname == hostname).unwrap();
    *one = Invocation { status, provisional_status: None, provisional_at: None, finished_at: None, ..one.clone() };
    let mut counts = Counts::default();
    record.invocations.iter().for_each(|invocation| counts.0[invocation.status as usize] += 1);
    record.task = task(&counts);
}

/// A body as it is signed, and its digest.
pub fn seal(kind: Kind, body: &impl Serialize, key: &SigningKey) -> (Box<RawValue>, String) {
    let envelope = Envelope::sign(kind, serde_json::to_vec(body).unwrap(), key).unwrap();
    (RawValue::from_string(envelope.to_json()).unwrap(), envelope.digest())
}

fn tree() -> Tree {
    Tree::new(HOSTS.iter().map(|(hostname, ..)| *hostname))
}

fn command() -> Command {
    Command {
        iss: PLANE.to_owned(),
        task_id: TASK.to_owned(),
        command: "uptime".to_owned(),
        user: None,
        timeout: u32::try_from(TIMEOUT).unwrap(),
        issued_at: Time(1_000),
        expires_at: EXPIRES,
        targets: Targets { count: HOSTS.len() as u64, root: tree().root() },
        requested_by: "local".to_owned(),
    }
}

fn task(counts: &Counts) -> Task {
    Task {
        task_id: TASK.to_owned(),
        target_type: TargetType::All,
        target: None,
        command: "uptime".to_owned(),
        timeout: TIMEOUT,
        user: None,
        status: counts.status(),
        created_at: Time(1_000),
        expires_at: EXPIRES,
        deadline: deadline(),
        is_final: counts.is_final(),
        targets: counts.targets(),
        counts: counts.by_name(),
        cancel_requested_at: None,
        max_concurrency: None,
        max_errors: None,
        retry_of: None,
        trace_id: "1".repeat(32),
    }
}

fn deadline() -> Time {
    EXPIRES.plus(std::time::Duration::from_secs(TIMEOUT.unsigned_abs())).plus(DEADLINE_GRACE)
}

fn invocation((hostname, status, ending): (&str, Status, Option<Ending>)) -> Invocation {
    let reached = !matches!(hostname, "skipped" | "withdrawn" | "undeliverable");
    let guess = status.is_provisional();
    Invocation {
        task_id: TASK.to_owned(),
        hostname: hostname.to_owned(),
        wave: Some(1),
        status,
        reason: None,
        exit_code: ending.map(exit_code),
        deadline: deadline(),
        attempts: 0,
        queued_at: Time(1_000),
        sent_at: reached.then_some(Time(1_500)),
        accepted_at: None,
        running_at: None,
        provisional_status: guess.then_some(status),
        provisional_at: guess.then_some(Time(9_000)),
        finished_at: Some(Time(9_000)),
    }
}

fn exit_code(ending: Ending) -> i32 {
    if ending == Ending::Succeeded { 0 } else { 1 }
}

fn report(hostname: &str, status: Ending, digest: &str) -> ResultReport {
    let ran = matches!(status, Ending::Succeeded | Ending::Failed);
    ResultReport {
        iss: hostname.to_owned(),
        task_id: TASK.to_owned(),
        command_digest: digest.to_owned(),
        status,
        reason: None,
        exit_code: exit_code(status),
        signal: None,
        stdout: "up\n".to_owned(),
        stderr: String::new(),
        stdout_bytes: 3,
        stderr_bytes: 0,
        truncated: false,
        started_at: ran.then_some(STARTED.0),
        finished_at: Time(3_000),
        boot_id: "1".to_owned(),
    }
}

fn shown(report: &ResultReport) -> TaskResult {
    TaskResult {
        task_id: report.task_id.clone(),
        exit_code: report.exit_code,
        stdout: report.stdout.clone(),
        stderr: report.stderr.clone(),
        timestamp: report.finished_at,
        hostname: report.iss.clone(),
        status: report.status,
        reason: report.reason.clone(),
        signal: report.signal,
        truncated: report.truncated,
        stdout_bytes: report.stdout_bytes,
        stderr_bytes: report.stderr_bytes,
        started_at: report.started_at.map(Time),
        received_at: Time(9_000),
        output_removed: false,
    }
}

fn signed(place: usize, report: &ResultReport) -> ResultEvidence {
    let key = &keys()[1 + place % 2];
    let (envelope, digest) = seal(Kind::Result, report, key);
    ResultEvidence {
        hostname: report.iss.clone(),
        wave: 1,
        keyid: key.keyid().to_owned(),
        algorithm: key.algorithm(),
        public_key_pem: key.public().to_pem().unwrap(),
        proof: tree().proof(place),
        envelope: Some(envelope),
        digest: Some(digest),
    }
}
