use std::sync::OnceLock;

use crate::contract::key::PlaneKey;
use crate::contract::signed::Targets;
use crate::rules::invocation::Ending;
use crate::sign::{SigningKey, Tree};
use serde_json::value::RawValue;

use super::super::sample::seal;
use super::*;

const TASK: &str = "0198f2b4c3d27a6e8b1f0c9d5e4a3b21";
const HOSTS: [&str; 3] = ["a", "b", "c"];

/// The plane's key and one for each host; made once, because making them takes long.
fn keys() -> &'static [SigningKey; 4] {
    static KEYS: OnceLock<[SigningKey; 4]> = OnceLock::new();
    KEYS.get_or_init(|| std::array::from_fn(|_| SigningKey::generate().unwrap()))
}

fn plane() -> &'static SigningKey {
    &keys()[3]
}

fn asked() -> Command {
    Command {
        iss: PLANE.to_owned(),
        task_id: TASK.to_owned(),
        command: "uptime".to_owned(),
        user: None,
        timeout: 30,
        issued_at: Time(1_000),
        expires_at: Time(2_000),
        targets: Targets { count: HOSTS.len() as u64, root: Tree::new(HOSTS).root() },
        requested_by: "local".to_owned(),
    }
}

fn answer(hostname: &str, command_digest: &str) -> ResultReport {
    ResultReport {
        iss: hostname.to_owned(),
        task_id: TASK.to_owned(),
        command_digest: command_digest.to_owned(),
        status: Ending::Succeeded,
        reason: None,
        exit_code: 0,
        signal: None,
        stdout: "up 3 days\n".to_owned(),
        stderr: String::new(),
        stdout_bytes: 10,
        stderr_bytes: 0,
        truncated: false,
        started_at: Some(1_100),
        finished_at: Time(1_200),
        boot_id: "1".to_owned(),
    }
}

fn result_of(place: usize, body: &ResultReport, key: &SigningKey) -> ResultEvidence {
    ResultEvidence {
        hostname: HOSTS[place].to_owned(),
        wave: 1,
        keyid: key.keyid().to_owned(),
        algorithm: key.algorithm(),
        public_key_pem: key.public().to_pem().unwrap(),
        proof: Tree::new(HOSTS).proof(place),
        digest: None,
        envelope: Some(seal(Kind::Result, body, key).0),
    }
}

/// Evidence in which everything holds, and the command's digest.
fn sound() -> (Evidence, String) {
    let (command, digest) = seal(Kind::Command, &asked(), plane());
    let results = (0..3).map(|place| result_of(place, &answer(HOSTS[place], &digest), &keys()[place])).collect();
    let signing_key = PlaneKey {
        keyid: plane().keyid().to_owned(),
        algorithm: plane().algorithm(),
        public_key_pem: plane().public().to_pem().unwrap(),
    };
    let commands = vec![CommandEvidence { wave: 1, signing_key, command }];
    (Evidence { task_id: TASK.to_owned(), commands, results }, digest)
}

/// What is said of the second result once `change` was made to it; the others must hold.
fn said(change: impl FnOnce(&mut ResultEvidence, &str)) -> String {
    let (mut evidence, digest) = sound();
    change(&mut evidence.results[1], &digest);
    let report = check(&evidence, None);
    assert!(!report.holds && report.command.is_none());
    assert!(report.results[0].reason.is_none() && report.results[2].reason.is_none());
    report.results[1].reason.clone().unwrap_or_default()
}

fn tampered(envelope: &RawValue) -> Box<RawValue> {
    let mut json: serde_json::Value = serde_json::from_str(envelope.get()).unwrap();
    let payload = json["payload"].as_str().unwrap();
    let other = if payload.starts_with("eyJ") { payload.replacen("eyJ", "eyI", 1) } else { String::new() };
    json["payload"] = other.into();
    RawValue::from_string(json.to_string()).unwrap()
}

#[test]
fn what_is_sound_holds() {
    let (evidence, _) = sound();
    for pinned in [None, Some(plane().public())] {
        let report = check(&evidence, pinned);
        assert!(report.holds && report.pinned == pinned.is_some(), "{report:?}");
        assert_eq!((report.results.len(), report.targets), (3, Some(3)));
    }
}

/// Each wave has a command and a tree of its own, and a result is judged by its wave's.
#[test]
fn each_wave_s_results_answer_its_own_command() {
    let (mut evidence, _) = sound();
    let later =
        Command { targets: Targets { count: 1, root: Tree::new(["b"]).root() }, issued_at: Time(1_500), ..asked() };
    let (command, digest) = seal(Kind::Command, &later, plane());
    let signing_key = evidence.commands[0].signing_key.clone();
    evidence.commands.push(CommandEvidence { wave: 2, signing_key, command });
    let answered =
        ResultEvidence { wave: 2, proof: Tree::new(["b"]).proof(0), ..result_of(1, &answer("b", &digest), &keys()[1]) };
    let first = std::mem::replace(&mut evidence.results[1], answered);
    let report = check(&evidence, None);
    assert!(report.holds && report.targets == Some(4), "{report:?}");
    evidence.results[1] = ResultEvidence { wave: 2, ..first };
    assert_eq!(check(&evidence, None).results[1].reason.as_deref(), Some("it answers another command"));
    evidence.results[1].wave = 3;
    assert_eq!(check(&evidence, None).results[1].reason.as_deref(), Some("it answers a wave that is not there"));
    evidence.commands[1].wave = 1;
    assert!(check(&evidence, None).command.is_some_and(|reason| reason.contains("twice")));
}

#[test]
fn evidence_survives_its_file() {
    let json = serde_json::to_string(&sound().0).unwrap();
    assert!(check(&serde_json::from_str(&json).unwrap(), None).holds);
}

#[test]
fn a_changed_result_is_found() {
    assert!(said(|result, _| result.envelope = result.envelope.as_deref().map(tampered)).contains("signature"));
    assert!(said(|result, _| result.envelope = RawValue::from_string("{}".to_owned()).ok()).contains("no signed"));
}

/// What was removed with its output cannot be checked; it must neither fail nor pass for checked.
#[test]
fn a_removed_result_is_named_as_such() {
    let (mut evidence, _) = sound();
    evidence.results[1].envelope = None;
    let evidence: Evidence = serde_json::from_str(&serde_json::to_string(&evidence).unwrap()).unwrap();
    let report = check(&evidence, None);
    assert!(report.holds, "{report:?}");
    assert_eq!(report.results.iter().map(|finding| finding.removed).collect::<Vec<_>>(), [false, true, false]);
    let mut evidence = evidence;
    evidence.results[1].proof = Tree::new(HOSTS).proof(0);
    let report = check(&evidence, None);
    assert!(report.results[1].reason.as_ref().is_some_and(|reason| reason.contains("targets")) && !report.holds);
}

#[test]
fn a_foreign_key_is_found() {
    let foreign = &keys()[0];
    assert!(said(|result, _| result.keyid = foreign.keyid().to_owned()).contains("id names"));
    let swapped = said(|result, _| {
        result.keyid = foreign.keyid().to_owned();
        result.public_key_pem = foreign.public().to_pem().unwrap();
    });
    assert!(swapped.contains("another key"), "{swapped}");
    assert!(said(|result, _| result.algorithm = Algorithm::RS256).contains("signature"));
}

#[test]
fn another_host_s_result_is_found() {
    let foreign = said(|result, digest| {
        *result = ResultEvidence { hostname: "b".to_owned(), ..result_of(0, &answer("a", digest), &keys()[0]) }
    });
    assert!(foreign.contains("somebody else"), "{foreign}");
    let (mut evidence, digest) = sound();
    evidence.results[1] = result_of(0, &answer("a", &digest), &keys()[0]);
    assert_eq!(check(&evidence, None).results[1].reason.as_deref(), Some("it is there twice"));
}

#[test]
fn a_host_that_was_not_meant_is_found() {
    let uninvited = said(|result, digest| {
        *result = ResultEvidence { hostname: "d".to_owned(), ..result_of(1, &answer("d", digest), &keys()[1]) };
    });
    assert!(uninvited.contains("targets"), "{uninvited}");
    assert!(said(|result, _| result.proof = Tree::new(HOSTS).proof(0)).contains("targets"));
}

#[test]
fn an_answer_to_something_else_is_found() {
    let other = crate::sign::digest(b"another command");
    assert!(said(|result, _| *result = result_of(1, &answer("b", &other), &keys()[1])).contains("another command"));
    let elsewhere = said(|result, digest| {
        let body = ResultReport { task_id: "f".repeat(32), ..answer("b", digest) };
        *result = result_of(1, &body, &keys()[1]);
    });
    assert!(elsewhere.contains("another task"), "{elsewhere}");
    let mistyped = said(|result, digest| result.envelope = Some(seal(Kind::Event, &answer("b", digest), &keys()[1]).0));
    assert!(mistyped.contains("something else"), "{mistyped}");
}

/// Without the command nothing can be said of a result, so nothing is.
#[test]
fn a_command_that_does_not_hold_takes_the_results_with_it() {
    let broken: [fn(&mut Evidence); 6] = [
        |evidence| evidence.commands[0].command = tampered(&evidence.commands[0].command),
        |evidence| evidence.commands[0].command = seal(Kind::Command, &asked(), &keys()[0]).0,
        |evidence| {
            evidence.commands[0].command = seal(Kind::Command, &Command { iss: "a".to_owned(), ..asked() }, plane()).0
        },
        |evidence| evidence.commands.clear(),
        |evidence| evidence.task_id = "f".repeat(32),
        |evidence| evidence.commands[0].signing_key.keyid = keys()[0].keyid().to_owned(),
    ];
    for (number, break_it) in broken.into_iter().enumerate() {
        let (mut evidence, _) = sound();
        break_it(&mut evidence);
        let report = check(&evidence, None);
        assert!(!report.holds && report.command.is_some(), "{number}");
        assert!(report.results.iter().all(|finding| finding.reason.is_some()), "{number}");
    }
}

/// A plane that swaps its key and signs everything anew is caught only by a key from elsewhere.
#[test]
fn a_pinned_key_overrules_the_one_that_came_along() {
    let (evidence, _) = sound();
    let report = check(&evidence, Some(keys()[0].public()));
    assert!(report.command.is_some_and(|reason| reason.contains("another key")));
}
