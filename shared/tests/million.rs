//! A million messages that are none, through the real verifier: each is refused for the reason that it
//! must be, nothing panics, and memory stays where it was. Most end before a signature is looked at, as
//! most of what strangers send would; one in sixteen has one that does not hold.
//!
//! `MUSTER_MALFORMED` is how many. It stands alone in its file, so that its memory can be measured.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that panics has failed, which is its purpose")]

#[expect(dead_code, reason = "the vectors' own tests read more of them")]
mod common;

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Instant;

use common::{Keys, Vector, judge, valid};
use shared::rules::limits::ENVELOPE_BYTES_MAX;
use shared::sign::Refusal;

const MALFORMED: usize = 1_000_000;
const THREADS: usize = 2;
/// How much memory may grow, in kibibytes.
const GROWTH_KIB_MAX: usize = 20 * 1024;

/// Marsaglia's xorshift: the same messages in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }
}

/// What is done to a good message, and why it must be refused then.
const WAYS: [(&str, Refusal); 16] = [
    ("cut off", Refusal::Malformed),
    ("a byte that UTF-8 never has", Refusal::Malformed),
    ("random bytes", Refusal::Malformed),
    ("words of JSON", Refusal::Malformed),
    ("a field twice", Refusal::Malformed),
    ("an array around it", Refusal::Malformed),
    ("an array for a signature", Refusal::Malformed),
    ("nested too deep", Refusal::Malformed),
    ("a number beyond all", Refusal::Malformed),
    ("NaN", Refusal::Malformed),
    ("text behind it", Refusal::Malformed),
    ("one byte too long", Refusal::TooLarge),
    ("another type", Refusal::WrongType),
    ("another key id", Refusal::UnknownKey),
    ("base64 that is none", Refusal::Malformed),
    ("a signature that does not hold", Refusal::BadSignature),
];

static LARGE: LazyLock<Vec<u8>> = LazyLock::new(|| vec![b' '; ENVELOPE_BYTES_MAX + 10]);

/// A good message and where its parts are.
struct Base {
    vector: Vector,
    text: Vec<u8>,
    /// Behind the first bracket of the envelope.
    envelope: usize,
    kind: usize,
    keyid: usize,
    sig: usize,
    payload: usize,
}

impl Base {
    fn of(vector: Vector) -> Self {
        let text = vector.message.clone().into_bytes();
        let behind = |mark: &str| vector.message.find(mark).unwrap_or_else(|| panic!("{mark}")) + mark.len();
        let envelope = if vector.message.contains("\"envelope\"") { behind("\"envelope\":{") } else { 1 };
        let (kind, keyid) = (behind("/vnd.muster."), behind("\"sha256:"));
        let (sig, payload) = (behind("\"sig\":\""), behind("\"payload\":\""));
        Self { text, envelope, kind, keyid, sig, payload, vector }
    }

    /// Spoils the message into `out`.
    fn spoil<'o>(&self, way: usize, random: &mut Random, out: &'o mut Vec<u8>) -> &'o [u8] {
        out.clone_from(&self.text);
        let insert = |out: &mut Vec<u8>, at: usize, text: &[u8]| drop(out.splice(at..at, text.iter().copied()));
        match WAYS[way].0 {
            "cut off" => out.truncate(random.below(self.text.len())),
            "a byte that UTF-8 never has" => out[random.below(self.text.len())] = 0xff - random.below(2) as u8,
            "random bytes" => {
                out.truncate(random.below(200));
                out.iter_mut().for_each(|byte| *byte = random.below(256) as u8);
            }
            "words of JSON" => {
                let words =
                    ["{", "}", "[", "]", ":", ",", "\"payload\"", "null", "1e9", "-", "\"\\ud800\"", "{\"sig\":"];
                out.clear();
                (0..random.below(40)).for_each(|_| out.extend(words[random.below(words.len())].bytes()));
            }
            "a field twice" => insert(out, self.envelope, b"\"payload\":\"AA==\","),
            "an array around it" => {
                out.insert(0, b'[');
                out.push(b']');
            }
            "an array for a signature" => {
                let open = self.keyid - "{\"keyid\":\"sha256:".len();
                insert(out, open, b"[\"k\",\"AA==\"],");
            }
            "nested too deep" => {
                out.truncate(self.envelope);
                (0..130 + random.below(400)).for_each(|_| out.extend(b"\"payload\":{"));
            }
            "a number beyond all" => insert(out, self.payload - 1, b"1e999999,\"x\":"),
            "NaN" => insert(out, self.envelope, b"\"x\":NaN,"),
            "text behind it" => out.push(b'!' + random.below(90) as u8),
            "one byte too long" => return &LARGE[..ENVELOPE_BYTES_MAX + 1 + random.below(9)],
            "another type" => out[self.kind] = b'A' + random.below(26) as u8,
            "another key id" => flip(out, self.keyid + random.below(64)),
            "base64 that is none" => out[self.payload + random.below(100)] = b"!*(\t\n "[random.below(6)],
            _ => flip(out, self.sig + random.below(300)),
        }
        out
    }
}

/// Exchanges a digit for another one.
fn flip(out: &mut [u8], at: usize) {
    out[at] = if out[at] == b'1' { b'2' } else { b'1' };
}

/// The memory that this process holds, in kibibytes.
fn resident_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn judge_all(keys: &Keys, bases: &[Base], seed: u64, number: usize) -> BTreeMap<(usize, String), usize> {
    let (mut random, mut counts, mut message) = (Random(seed), BTreeMap::new(), Vec::new());
    for turn in 0..number {
        let (base, way) = (&bases[random.below(bases.len())], turn % WAYS.len());
        let spoilt = base.spoil(way, &mut random, &mut message);
        let outcome = judge(keys, &base.vector, spoilt).map_or_else(|why| why.as_str(), |_| "TAKEN");
        *counts.entry((way, outcome.to_owned())).or_default() += 1;
    }
    counts
}

#[test]
fn a_million_malformed_messages_are_refused_for_the_right_reason() {
    let number: usize = std::env::var("MUSTER_MALFORMED").map_or(MALFORMED, |text| text.parse().unwrap());
    let keys = Keys::load();
    let plain = |vector: &Vector| {
        vector.message.contains("\"signatures\":[{\"keyid\":\"sha256:") && vector.message.ends_with('}')
    };
    let bases: Vec<_> = valid().into_iter().filter(plain).map(Base::of).collect();
    assert!(bases.len() >= 10, "{}", bases.len());
    drop(judge_all(&keys, &bases, 1, 2_000)); // so that what is needed once is there
    let (before, since) = (resident_kib(), Instant::now());
    let mut counts = BTreeMap::new();
    std::thread::scope(|scope| {
        let work = |seed| {
            scope.spawn({
                let (keys, bases) = (&keys, &bases);
                move || judge_all(keys, bases, seed, number / THREADS)
            })
        };
        for worker in [2, 3].map(work) {
            for (key, count) in worker.join().unwrap() {
                *counts.entry(key).or_insert(0) += count;
            }
        }
    });
    let (took, grown) = (since.elapsed(), resident_kib().saturating_sub(before));
    for ((way, reason), count) in &counts {
        println!("{count:>8}  {:<32} {reason}", WAYS[*way].0);
    }
    println!("{} messages in {took:.1?}, memory +{grown} KiB", counts.values().sum::<usize>());
    let expected = WAYS.iter().enumerate().map(|(way, (_, reason))| (way, reason.as_str().to_owned()));
    assert!(counts.keys().cloned().eq(expected), "a way that ends otherwise");
    assert_eq!(counts.values().sum::<usize>(), number / THREADS * THREADS);
    assert!(grown < GROWTH_KIB_MAX, "memory grew by {grown} KiB");
}
