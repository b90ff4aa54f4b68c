//! Messages that nobody signed: every bit of a good one flipped, fields exchanged, text scribbled
//! over, garbage. The verifier takes none of them, and none makes it panic.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that panics has failed, which is its purpose")]

#[expect(dead_code, reason = "the vectors' own tests read more of them")]
mod common;

use std::iter::once;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::{Keys, Vector, judge, valid};
use serde_json::{Value, json};
use shared::contract::envelope::Proof;
use shared::sign::Refusal;

/// Marsaglia's xorshift: the same forgeries in each run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn byte(&mut self) -> u8 {
        self.next() as u8
    }

    fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }

    /// Changes, adds, removes or cuts off bytes.
    fn edit(&mut self, bytes: &mut Vec<u8>) {
        let at = self.below(bytes.len().max(1));
        match self.below(4) {
            _ if bytes.is_empty() => bytes.push(self.byte()),
            0 => bytes[at] ^= 1 << self.below(8),
            1 => bytes.insert(at, self.byte()),
            2 => drop(bytes.remove(at)),
            _ => bytes.truncate(at),
        }
    }
}

/// A message taken apart.
#[derive(Clone, PartialEq)]
struct Parts {
    payload_type: String,
    payload: Vec<u8>,
    keyid: String,
    sig: Vec<u8>,
    proof: Option<Proof>,
}

impl Parts {
    fn read(message: &str) -> Self {
        let message: Value = serde_json::from_str(message).unwrap();
        let envelope = message.get("envelope").unwrap_or(&message);
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let signature = &envelope["signatures"][0];
        Self {
            payload_type: text(&envelope["payloadType"]),
            payload: STANDARD.decode(text(&envelope["payload"])).unwrap(),
            keyid: text(&signature["keyid"]),
            sig: STANDARD.decode(text(&signature["sig"])).unwrap(),
            proof: message.get("proof").map(|proof| serde_json::from_value(proof.clone()).unwrap()),
        }
    }

    fn write(&self) -> Vec<u8> {
        let signature = json!({ "keyid": self.keyid, "sig": STANDARD.encode(&self.sig) });
        let payload = STANDARD.encode(&self.payload);
        let envelope = json!({ "payloadType": self.payload_type, "payload": payload, "signatures": [signature] });
        let message = self.proof.as_ref().map(|proof| json!({ "envelope": envelope, "proof": proof }));
        message.unwrap_or(envelope).to_string().into_bytes()
    }

    /// These parts with one of them changed, or exchanged for the other message's.
    fn forged(&self, random: &mut Random, other: &Self) -> Self {
        let mut forged = self.clone();
        match (random.below(6), &mut forged.proof) {
            (0, _) => random.edit(&mut forged.payload),
            (1, _) => random.edit(&mut forged.sig),
            (2, _) => forged.payload.clone_from(&other.payload),
            (3, _) => forged.payload_type.clone_from(&other.payload_type),
            (4, Some(proof)) => edit_proof(random, proof),
            _ => forged.keyid.clone_from(&other.keyid),
        }
        if forged == *self { self.forged(random, other) } else { forged }
    }
}

fn edit_proof(random: &mut Random, proof: &mut Proof) {
    match random.below(4) {
        0 => proof.index = random.below(9) as u64,
        1 => proof.hashes.push(hex::encode([random.byte(); 32])),
        2 => drop(proof.hashes.pop()),
        _ => proof.hashes.iter_mut().for_each(|hash| {
            let mut bytes = hex::decode(&*hash).unwrap();
            bytes[random.below(32)] ^= 1 << random.below(8);
            *hash = hex::encode(bytes);
        }),
    }
}

/// The valid vectors in the plain alphabet, so that what is taken apart can be put together again.
fn originals() -> Vec<Vector> {
    let mut all = valid();
    all.retain(|vector| !vector.name.contains("url-safe"));
    all
}

fn original(name: &str) -> Vector {
    valid().into_iter().find(|vector| vector.name == name).unwrap()
}

/// Sees each of the `forgeries` refused where `vector` is taken, and counts them.
fn refused(keys: &Keys, vector: &Vector, forgeries: impl Iterator<Item = Vec<u8>>) -> usize {
    let mut count = 0;
    for forged in forgeries {
        assert!(judge(keys, vector, &forged).is_err(), "{}: {}", vector.name, String::from_utf8_lossy(&forged));
        count += 1;
    }
    count
}

/// Every form of `bytes` with one bit flipped.
fn flips(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    (0..bytes.len() * 8).map(|bit| {
        let mut flipped = bytes.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        flipped
    })
}

#[test]
fn no_flipped_bit_is_overlooked() {
    let keys = Keys::load();
    let mut flipped = 0;
    for name in ["result-ps256", "result-rs256", "command-seven-targets-web-01"] {
        let vector = original(name);
        let parts = Parts::read(&vector.message);
        assert!(judge(&keys, &vector, &parts.write()).is_ok(), "{name} unchanged");
        let payloads = flips(&parts.payload).map(|payload| Parts { payload, ..parts.clone() }.write());
        let signatures = flips(&parts.sig).map(|sig| Parts { sig, ..parts.clone() }.write());
        for forged in payloads.chain(signatures) {
            assert_eq!(judge(&keys, &vector, &forged), Err(Refusal::BadSignature), "{name}");
            flipped += 1;
        }
    }
    assert!(flipped >= 12_000, "{flipped}");
}

#[test]
fn no_exchanged_or_changed_part_is_overlooked() {
    let keys = Keys::load();
    let mut random = Random(0x6d75_7374_6572);
    let all: Vec<_> = originals().into_iter().map(|vector| (Parts::read(&vector.message), vector)).collect();
    for _ in 0..15_000 {
        let ((parts, vector), (other, _)) = (random.pick(&all), random.pick(&all));
        refused(&keys, vector, once(parts.forged(&mut random, other).write()));
    }
}

/// A blank between two fields, or a proof's digits in upper case, makes no forgery: then it is
/// still the same message, which the digest of the signed bytes shows.
#[test]
fn text_scribbled_over_says_nothing_else() {
    let keys = Keys::load();
    let mut random = Random(0x7363_7269_6262_6c65);
    let all = originals();
    for _ in 0..15_000 {
        let vector = random.pick(&all);
        let mut text = vector.message.clone().into_bytes();
        (0..=random.below(3)).for_each(|_| random.edit(&mut text));
        if let Ok(digest) = judge(&keys, vector, &text) {
            let same = vector.payload_sha256.as_deref();
            assert_eq!(Some(digest.as_str()), same, "{}: {}", vector.name, String::from_utf8_lossy(&text));
        }
    }
}

#[test]
fn no_truncated_message_is_taken() {
    let keys = Keys::load();
    for name in ["result-ps256", "heartbeat-first", "event-running", "cancel", "command-seven-targets-web-01"] {
        let vector = original(name);
        let text = vector.message.as_bytes();
        refused(&keys, &vector, (0..text.len()).map(|end| text[..end].to_vec()));
    }
}

#[test]
fn garbage_is_refused() {
    let words = r#"{ } [ ] : , " \ null 1e999 -0 "envelope": "proof": "index": "hashes": "payload": "payloadType": "signatures":[{
        "keyid":"" "sig": "application/vnd.muster.result.v1+json" "application/vnd.muster.command.v1+json""#;
    let words: Vec<_> = words.split_whitespace().collect();
    let keys = Keys::load();
    let mut random = Random(0x0067_6172_6261_6765);
    let receivers = [original("command-one-targets-web-01"), original("result-ps256")];
    for _ in 0..5_000 {
        let bytes: Vec<_> = (0..random.below(400)).map(|_| random.byte()).collect();
        let text: String = (0..random.below(60)).map(|_| *random.pick(&words)).collect();
        for receiver in &receivers {
            refused(&keys, receiver, [bytes.clone(), text.clone().into_bytes()].into_iter());
        }
    }
    let deep = format!(r#"{{"envelope":{}"#, "[".repeat(1_000_000));
    for receiver in &receivers {
        refused(&keys, receiver, once(deep.clone().into_bytes()));
    }
}
