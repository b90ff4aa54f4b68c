//! The vectors of `docs/vectors`, and the one way in which all tests here ask the verifier.

use serde::Deserialize;
use shared::clock::Time;
use shared::contract::key::Algorithm;
use shared::contract::signed::Kind;
use shared::sign::{Asked, Inbound, KeyState, PublicKey, Refusal, Report, Sealed, TrustedKey, inbound};

/// A message, what its receiver knows, and what must come of it.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vector {
    pub name: String,
    pub why: String,
    pub expect: String,
    role: Role,
    pub now: i64,
    hostname: Option<String>,
    asked: Option<Task>,
    known: Option<Presence>,
    pub targets: Option<Vec<String>>,
    pad_to_bytes: Option<usize>,
    pub payload_sha256: Option<String>,
    pub message: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Role {
    Agent,
    Ingestor,
    Plane,
}

#[derive(Clone, Deserialize)]
struct Task {
    command_digest: String,
    is_target: bool,
}

#[derive(Clone, Deserialize)]
struct Presence {
    boot_id: String,
    counter: u64,
}

impl Vector {
    /// The message as it arrives.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.message.clone().into_bytes();
        bytes.resize(self.pad_to_bytes.unwrap_or(bytes.len()), b' ');
        bytes
    }
}

pub fn valid() -> Vec<Vector> {
    serde_json::from_str(include_str!("../../../docs/vectors/valid.json")).unwrap()
}

/// The keys that each receiver trusts.
pub struct Keys {
    plane: Vec<TrustedKey>,
    pub agents: Vec<TrustedKey>,
}

#[derive(Deserialize)]
struct Entry {
    role: Role,
    owner: String,
    algorithm: Algorithm,
    state: String,
    retiring_until: Option<i64>,
    keyid: String,
    public_key_pem: String,
}

impl Keys {
    pub fn load() -> Self {
        let entries: Vec<Entry> = serde_json::from_str(include_str!("../../../docs/vectors/keys.json")).unwrap();
        let of = |role| entries.iter().filter(|entry| entry.role == role).map(trusted).collect();
        Self { plane: of(Role::Plane), agents: of(Role::Agent) }
    }
}

fn trusted(entry: &Entry) -> TrustedKey {
    let key = PublicKey::from_pem(&entry.public_key_pem).unwrap();
    assert_eq!(key.keyid(), entry.keyid);
    assert_eq!(key.to_pem().unwrap(), entry.public_key_pem);
    let state = match (entry.state.as_str(), entry.retiring_until) {
        ("active", None) => KeyState::Active,
        ("retiring", Some(until)) => KeyState::RetiringUntil(Time(until)),
        ("revoked", None) => KeyState::Revoked,
        other => panic!("a key cannot be {other:?}"),
    };
    TrustedKey { owner: entry.owner.clone(), key, algorithm: entry.algorithm, state }
}

/// What the receiver of `vector` makes of `message`: the digest of its payload, or why not.
pub fn judge(keys: &Keys, vector: &Vector, message: &[u8]) -> Result<String, Refusal> {
    match vector.role {
        Role::Agent => as_agent(keys, vector, message),
        Role::Ingestor => as_ingestor(keys, vector, message),
        Role::Plane => panic!("{}: no message is for the plane's own role", vector.name),
    }
}

fn as_agent(keys: &Keys, vector: &Vector, message: &[u8]) -> Result<String, Refusal> {
    let (hostname, now) = (vector.hostname.as_deref().unwrap(), Time(vector.now));
    match inbound(message, hostname, &keys.plane, now)? {
        Inbound::Command(command) => command.in_time(now).map(|command| command.digest().to_owned()),
        Inbound::Cancel(cancel) => cancel.in_time(now).map(|cancel| cancel.digest().to_owned()),
    }
}

fn as_ingestor(keys: &Keys, vector: &Vector, message: &[u8]) -> Result<String, Refusal> {
    let sealed = Sealed::parse(message, &[Kind::Event, Kind::Result, Kind::Heartbeat])?;
    let key = keys.agents.iter().find(|trusted| trusted.key.keyid() == sealed.keyid());
    let task = vector.asked.as_ref();
    let asked = task.map(|task| Asked { command_digest: &task.command_digest, is_target: task.is_target });
    let known = vector.known.as_ref().map(|known| (known.boot_id.as_str(), known.counter));
    match sealed.open_report(key, Time(vector.now))? {
        Report::Event(event) => event.answers(asked).map(|event| event.digest().to_owned()),
        Report::Result(result) => result.answers(asked).map(|result| result.digest().to_owned()),
        Report::Heartbeat(heartbeat) => heartbeat.newer_than(known).map(|heartbeat| heartbeat.digest().to_owned()),
    }
}
