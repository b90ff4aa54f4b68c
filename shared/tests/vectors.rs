//! The verifier against the vectors of `docs/vectors`, whose signatures, trees and JSON were made
//! by an implementation that is not ours.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that panics has failed, which is its purpose")]

mod common;

use std::collections::BTreeSet;

use common::{Keys, Vector, judge, valid};
use shared::clock::Time;
use shared::contract::signed::Kind;
use shared::sign::{Refusal, Sealed, Tree};

fn invalid() -> Vec<Vector> {
    serde_json::from_str(include_str!("../../docs/vectors/invalid.json")).unwrap()
}

fn outcome(keys: &Keys, vector: &Vector) -> Result<String, Refusal> {
    judge(keys, vector, &vector.bytes())
}

#[test]
fn valid_messages_are_accepted_with_their_digest() {
    let keys = Keys::load();
    let vectors = valid();
    assert!(vectors.len() >= 10);
    for vector in vectors {
        assert_eq!(vector.expect, "ok", "{}", vector.name);
        assert_eq!(outcome(&keys, &vector), Ok(vector.payload_sha256.clone().unwrap()), "{}", vector.name);
    }
}

#[test]
fn invalid_messages_are_refused_for_the_one_right_reason() {
    let keys = Keys::load();
    let vectors = invalid();
    assert!(vectors.len() >= 30);
    let wrong: Vec<_> = vectors
        .iter()
        .map(|vector| (vector, outcome(&keys, vector)))
        .filter(|(vector, outcome)| outcome.as_ref().err().map(|refusal| refusal.as_str()) != Some(&vector.expect))
        .map(|(vector, outcome)| format!("{} ({}): {outcome:?}, not {}", vector.name, vector.why, vector.expect))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_reason_has_a_vector() {
    let vectors = invalid();
    let covered: BTreeSet<_> = vectors.iter().map(|vector| vector.expect.as_str()).collect();
    assert_eq!(covered, Refusal::ALL.map(Refusal::as_str).into());
}

/// A consumer that reads only some kinds refuses the others before it looks at any key.
#[test]
fn a_kind_that_was_not_expected_is_the_wrong_type() {
    let reports = [Kind::Event, Kind::Result, Kind::Heartbeat];
    for vector in valid().into_iter().filter(|vector| vector.targets.is_none()) {
        let kind = Sealed::parse(&vector.bytes(), &reports).unwrap().kind();
        let others: Vec<_> = reports.into_iter().filter(|other| *other != kind).collect();
        assert_eq!(Sealed::parse(&vector.bytes(), &others).unwrap_err(), Refusal::WrongType, "{}", vector.name);
    }
}

/// Whoever looks keys up may err; the verifier compares what it was given with what was named.
#[test]
fn a_key_that_the_message_does_not_name_is_unknown() {
    let keys = Keys::load();
    for vector in valid().into_iter().filter(|vector| vector.targets.is_none()) {
        let sealed = || Sealed::parse(&vector.bytes(), &[Kind::Event, Kind::Result, Kind::Heartbeat]).unwrap();
        let others = keys.agents.iter().filter(|trusted| trusted.key.keyid() != sealed().keyid());
        for key in others.map(Some).chain([None]) {
            let refusal = sealed().open_report(key, Time(vector.now)).unwrap_err();
            assert_eq!(refusal, Refusal::UnknownKey, "{}", vector.name);
        }
    }
}

#[test]
fn trees_have_the_roots_of_the_vectors() {
    let mut compared = 0;
    for vector in valid() {
        let Some(targets) = vector.targets else { continue };
        assert!(targets.is_sorted(), "{}", vector.name);
        let tree = Tree::new(targets.iter().map(String::as_str));
        let message: serde_json::Value = serde_json::from_str(&vector.message).unwrap();
        assert_eq!(signed_root(&message["envelope"]), tree.root(), "{}", vector.name);
        let index = message["proof"]["index"].as_u64().unwrap() as usize;
        assert_eq!(serde_json::to_value(tree.proof(index)).unwrap(), message["proof"], "{}", vector.name);
        compared += 1;
    }
    assert!(compared >= 13, "one vector for each host of 1, 2, 3 and 7, at least");
}

fn signed_root(envelope: &serde_json::Value) -> String {
    use base64::Engine as _;
    let payload = base64::engine::general_purpose::STANDARD.decode(envelope["payload"].as_str().unwrap()).unwrap();
    let body: serde_json::Value = serde_json::from_slice(&payload).unwrap();
    body["targets"]["root"].as_str().unwrap().to_owned()
}
