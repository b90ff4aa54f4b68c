//! The checks, a pure function of the evidence: the same verifier that agents and the ingestor use,
//! in the auditor's position. A key that was replaced or revoked since then still tells who signed,
//! so every key counts as active; and old results are what an audit is about, so no time is judged.

use std::collections::{BTreeMap, BTreeSet};

use crate::clock::Time;
use crate::contract::key::Algorithm;
use crate::contract::signed::{Command, Kind, PLANE, ResultReport};
use crate::contract::task::{CommandEvidence, Evidence, ResultEvidence};
use crate::sign::{Asked, Authentic, KeyState, PublicKey, Refusal, Sealed, TrustedKey, includes};
use serde::Serialize;

/// No check here depends on the time.
const NO_TIME: Time = Time(0);

/// What came out.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The task.
    pub task_id: String,
    /// Whether everything holds.
    pub holds: bool,
    /// Whether the command was checked with a key from elsewhere.
    pub pinned: bool,
    /// How many servers the commands of all waves were signed for, if they were.
    pub targets: Option<u64>,
    /// Why the command does not hold, or that of some wave.
    pub command: Option<String>,
    /// Each result.
    pub results: Vec<Finding>,
}

/// What came out for one result.
#[derive(Debug, Serialize)]
pub struct Finding {
    /// The server.
    pub hostname: String,
    /// Why it does not hold.
    pub reason: Option<String>,
    /// It was removed with the output that it holds: all that can be checked is that the server was meant.
    pub removed: bool,
}

/// Checks everything; `pinned` is the plane's key from a source that the auditor trusts.
pub fn check(evidence: &Evidence, pinned: Option<&PublicKey>) -> Report {
    let commands = commands(evidence, pinned);
    let mut seen = BTreeSet::new();
    let finding = |result: &ResultEvidence| Finding {
        hostname: result.hostname.clone(),
        removed: result.envelope.is_none(),
        reason: match commands.as_ref().map(|commands| commands.get(&result.wave)) {
            Err(_) => Some("it cannot be judged without the command".to_owned()),
            Ok(_) if !seen.insert(result.hostname.clone()) => Some("it is there twice".to_owned()),
            Ok(None) => Some("it answers a wave that is not there".to_owned()),
            Ok(Some(command)) => self::result(result, command).err(),
        },
    };
    let results: Vec<_> = evidence.results.iter().map(finding).collect();
    Report {
        task_id: evidence.task_id.clone(),
        holds: commands.is_ok() && results.iter().all(|finding| finding.reason.is_none()),
        pinned: pinned.is_some(),
        targets: commands
            .as_ref()
            .ok()
            .map(|commands| commands.values().map(|command| command.body().targets.count).sum()),
        command: commands.err(),
        results,
    }
}

type Commands = BTreeMap<i64, Authentic<Command>>;

/// The signed commands by wave. One that does not hold says nothing for the others either: whoever
/// changed it could change them too.
fn commands(evidence: &Evidence, pinned: Option<&PublicKey>) -> Result<Commands, String> {
    if evidence.commands.is_empty() {
        return Err("there is none".to_owned());
    }
    let mut commands = Commands::new();
    for signed in &evidence.commands {
        if commands.insert(signed.wave, command(signed, &evidence.task_id, pinned)?).is_some() {
            return Err(format!("wave {} is there twice", signed.wave));
        }
    }
    Ok(commands)
}

fn command(
    evidence: &CommandEvidence,
    task_id: &str,
    pinned: Option<&PublicKey>,
) -> Result<Authentic<Command>, String> {
    let named = &evidence.signing_key;
    let key = match pinned {
        Some(key) => key.clone(),
        None => public_key(&named.public_key_pem, &named.keyid)?,
    };
    let command: Authentic<Command> =
        open(evidence.command.get(), Kind::Command, &trusted(PLANE, key, named.algorithm))?;
    is_of(&command.body().task_id, task_id)?;
    Ok(command)
}

fn result(evidence: &ResultEvidence, command: &Authentic<Command>) -> Result<(), String> {
    let targets = &command.body().targets;
    let is_target = includes(&evidence.hostname, &evidence.proof, targets.count, &targets.root);
    let Some(envelope) = &evidence.envelope else {
        return if is_target { Ok(()) } else { Err(words(Refusal::NotATarget)) };
    };
    let key = public_key(&evidence.public_key_pem, &evidence.keyid)?;
    let key = trusted(&evidence.hostname, key, evidence.algorithm);
    let result: Authentic<ResultReport> = open(envelope.get(), Kind::Result, &key)?;
    is_of(&result.body().task_id, &command.body().task_id)?;
    result.answers(Some(Asked { command_digest: command.digest(), is_target })).map(drop).map_err(words)
}

fn public_key(pem: &str, keyid: &str) -> Result<PublicKey, String> {
    let key = PublicKey::from_pem(pem).map_err(|error| error.detail().to_owned())?;
    if key.keyid() == keyid { Ok(key) } else { Err("the key is not the one that its id names".to_owned()) }
}

fn trusted(owner: &str, key: PublicKey, algorithm: Algorithm) -> TrustedKey {
    TrustedKey { owner: owner.to_owned(), key, algorithm, state: KeyState::Active }
}

fn open<T: crate::contract::signed::Payload>(json: &str, kind: Kind, key: &TrustedKey) -> Result<Authentic<T>, String> {
    Sealed::parse(json.as_bytes(), &[kind]).and_then(|sealed| sealed.open(Some(key), NO_TIME)).map_err(words)
}

fn is_of(task_id: &str, expected: &str) -> Result<(), String> {
    if task_id == expected { Ok(()) } else { Err(format!("it belongs to another task, {task_id}")) }
}

fn words(refusal: Refusal) -> String {
    let words = match refusal {
        Refusal::TooLarge => "the message is over the size limit",
        Refusal::Malformed => "it is no signed message",
        Refusal::WrongType => "it is signed as something else",
        Refusal::UnknownKey => "it is signed with another key",
        Refusal::BadSignature => "the signature does not hold",
        Refusal::BadBody => "it is signed, but says nothing that can be read",
        Refusal::WrongIssuer => "it speaks for somebody else than the key's owner",
        Refusal::WrongDigest => "it answers another command",
        Refusal::NotATarget => "the server is not among the signed targets",
        other => other.as_str(), // not one of the checks here
    };
    words.to_owned()
}

#[cfg(test)]
mod tests;
