//! The verifier on one core, and the signing of a task for many servers.

use std::time::Instant;

use shared::clock::{Clock, Time};
use shared::contract::key::Algorithm;
use shared::contract::signed::{Kind, ResultReport};
use shared::rules::invocation::Ending;
use shared::sign::{Asked, Envelope, KeyState, Report, Sealed, SigningKey, Tree, TrustedKey};

use crate::sample::{Sample, rate};

/// Servers of the large task.
const SERVERS: usize = 10_000;
/// Results for the verifier.
const RESULTS: usize = 50_000;

pub fn measure() {
    let key = SigningKey::generate().unwrap();
    verifier(&key);
    large_task(&key);
}

fn verifier(key: &SigningKey) {
    let (message, digest) = result(key);
    let trusted = TrustedKey {
        owner: "web-1".into(),
        key: key.public().clone(),
        algorithm: Algorithm::PS256,
        state: KeyState::Active,
    };
    let now = Clock::System.now();
    let verify = || {
        let sealed = Sealed::parse(message.as_bytes(), &[Kind::Result, Kind::Event]).unwrap();
        let Report::Result(result) = sealed.open_report(Some(&trusted), now).unwrap() else { panic!("a result") };
        result.answers(Some(Asked { command_digest: &digest, is_target: true })).unwrap()
    };
    let start = Instant::now();
    for _ in 0..RESULTS {
        verify();
    }
    println!("  {:<52} {:.0} a second", "verifier, 3,072 bits, PS256, one core", rate(RESULTS, start.elapsed()));
}

pub fn result(key: &SigningKey) -> (String, String) {
    let digest = "d".repeat(64);
    let report = ResultReport {
        iss: "web-1".into(),
        task_id: "0".repeat(32),
        command_digest: digest.clone(),
        status: Ending::Succeeded,
        reason: None,
        exit_code: 0,
        signal: None,
        stdout: "x".repeat(200),
        stderr: String::new(),
        stdout_bytes: 200,
        stderr_bytes: 0,
        truncated: false,
        started_at: Some(0),
        finished_at: Time(1),
        boot_id: "b".into(),
    };
    let payload = serde_json::to_vec(&report).unwrap();
    (Envelope::sign(Kind::Result, payload, key).unwrap().to_json(), digest)
}

fn large_task(key: &SigningKey) {
    let mut names: Vec<_> = (0..SERVERS).map(|n| format!("host-{n:05}.example.org")).collect();
    names.sort();
    let sample = Sample::of(20, || {
        let tree = Tree::new(names.iter().map(String::as_str));
        let envelope = Envelope::sign(Kind::Command, tree.root().into_bytes(), key).unwrap();
        let proofs: Vec<_> = (0..names.len()).map(|index| tree.proof(index)).collect();
        assert_eq!((proofs.len(), envelope.digest().len()), (SERVERS, 64));
    });
    sample.print("sign a task for 10,000 servers, proofs included");
}
