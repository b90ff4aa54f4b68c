//! The verifier: one order of checks, stopping at the first failure, each with its own reason.
//!
//! The types carry the proof. [`Sealed`] has only been parsed. [`Authentic`] was signed by the key
//! of the one it claims to come from. [`Verified`] has passed every check, and its constructor is
//! private to this file: what runs commands or stores results takes a `Verified` and so cannot be
//! handed anything less. There is no way around it.
//!
//! Order: size → envelope parses → type in the closed set → key known and not revoked → signature
//! → body is a JSON object of the type → `iss` owns the key; then for commands and cancels:
//! inclusion → in time; for results and events: digest of the stored command → among its targets;
//! for heartbeats: growing.

use super::dsse::{Envelope, from_object};
use super::key::PublicKey;
use super::merkle::includes;
use crate::clock::Time;
use crate::contract::envelope::Addressed;
use crate::contract::key::Algorithm;
use crate::contract::signed::{Cancel, Command, EventReport, Heartbeat, Kind, Payload, ResultReport, Targets};
use crate::rules::limits::{CLOCK_SKEW_MAX, ENVELOPE_BYTES_MAX, VALIDITY_MAX};

/// Why a message was not believed; each is counted under its own name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// Over the size limit.
    TooLarge,
    /// Not an envelope with one signature.
    Malformed,
    /// A type that does not belong here.
    WrongType,
    /// No such key in this role.
    UnknownKey,
    /// The key was revoked, or its time after a rotation is over.
    RevokedKey,
    /// The signature does not hold.
    BadSignature,
    /// Signed, but not what the type says.
    BadBody,
    /// The key belongs to somebody else than `iss`.
    WrongIssuer,
    /// The proof does not show that this server is a target.
    NotIncluded,
    /// Signed later than now.
    FromTheFuture,
    /// Its time is over.
    Expired,
    /// It would be valid for longer than allowed.
    ValidTooLong,
    /// No such task.
    UnknownTask,
    /// It answers another command than the one that was sent.
    WrongDigest,
    /// The host was never a target of the task.
    NotATarget,
    /// Not newer than what is known.
    Replayed,
}

impl Refusal {
    /// Every reason.
    pub const ALL: [Self; 16] = [
        Self::TooLarge,
        Self::Malformed,
        Self::WrongType,
        Self::UnknownKey,
        Self::RevokedKey,
        Self::BadSignature,
        Self::BadBody,
        Self::WrongIssuer,
        Self::NotIncluded,
        Self::FromTheFuture,
        Self::Expired,
        Self::ValidTooLong,
        Self::UnknownTask,
        Self::WrongDigest,
        Self::NotATarget,
        Self::Replayed,
    ];

    /// The reason's name in counters, logs, dead letters and test vectors.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::Malformed => "malformed",
            Self::WrongType => "wrong_type",
            Self::UnknownKey => "unknown_key",
            Self::RevokedKey => "revoked_key",
            Self::BadSignature => "bad_signature",
            Self::BadBody => "bad_body",
            Self::WrongIssuer => "wrong_issuer",
            Self::NotIncluded => "not_included",
            Self::FromTheFuture => "from_the_future",
            Self::Expired => "expired",
            Self::ValidTooLong => "valid_too_long",
            Self::UnknownTask => "unknown_task",
            Self::WrongDigest => "wrong_digest",
            Self::NotATarget => "not_a_target",
            Self::Replayed => "replayed",
        }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::error::Error for Refusal {}

/// What has become of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// Its messages count.
    Active,
    /// Replaced; its messages count until then.
    RetiringUntil(Time),
    /// Its messages count no more.
    Revoked,
}

/// A key with its owner, as the one who checks knows them.
#[derive(Clone, Debug)]
pub struct TrustedKey {
    /// Who speaks with it.
    pub owner: String,
    /// The key.
    pub key: PublicKey,
    /// How it signs.
    pub algorithm: Algorithm,
    /// What has become of it.
    pub state: KeyState,
}

/// A message of which nothing is believed yet, but that it is an envelope of an expected kind.
#[derive(Debug)]
pub struct Sealed {
    envelope: Envelope,
    kind: Kind,
    json: Vec<u8>,
}

impl Sealed {
    /// Size, form, and type among the `expected` ones.
    pub fn parse(json: &[u8], expected: &[Kind]) -> Result<Self, Refusal> {
        if json.len() > ENVELOPE_BYTES_MAX {
            return Err(Refusal::TooLarge);
        }
        let envelope = Envelope::parse(json).ok_or(Refusal::Malformed)?;
        let kind = Kind::parse(&envelope.payload_type).filter(|kind| expected.contains(kind));
        Ok(Self { kind: kind.ok_or(Refusal::WrongType)?, envelope, json: json.to_vec() })
    }

    /// The key that it names, to look it up by.
    pub fn keyid(&self) -> &str {
        &self.envelope.keyid
    }

    /// What it claims to be.
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Key, signature, body and issuer.
    pub fn open<T: Payload>(self, key: Option<&TrustedKey>, now: Time) -> Result<Authentic<T>, Refusal> {
        if self.kind != T::KIND {
            return Err(Refusal::WrongType);
        }
        let trusted = key.filter(|trusted| trusted.key.keyid() == self.envelope.keyid).ok_or(Refusal::UnknownKey)?;
        match trusted.state {
            KeyState::Active => (),
            KeyState::RetiringUntil(until) if now < until => (),
            KeyState::RetiringUntil(_) | KeyState::Revoked => return Err(Refusal::RevokedKey),
        }
        let signed = self.envelope.signed_bytes();
        if !trusted.key.verifies(trusted.algorithm, &signed, &self.envelope.sig) {
            return Err(Refusal::BadSignature);
        }
        let body: T = from_object(&self.envelope.payload).ok_or(Refusal::BadBody)?;
        if body.iss() != trusted.owner {
            return Err(Refusal::WrongIssuer);
        }
        Ok(Authentic { body, digest: self.envelope.digest(), keyid: self.envelope.keyid, json: self.json })
    }

    /// Whether its key holds and it comes from whom it claims to, whatever its kind.
    pub(super) fn holds(self, key: Option<&TrustedKey>, now: Time) -> bool {
        match self.kind {
            Kind::Command => self.open::<Command>(key, now).is_ok(),
            Kind::Cancel => self.open::<Cancel>(key, now).is_ok(),
            Kind::Event | Kind::Result | Kind::Heartbeat => self.open_report(key, now).is_ok(),
        }
    }

    /// What it says, of which nothing is believed.
    pub(super) fn payload(&self) -> &[u8] {
        &self.envelope.payload
    }

    /// The same for whatever an agent reports.
    pub fn open_report(self, key: Option<&TrustedKey>, now: Time) -> Result<Report, Refusal> {
        match self.kind {
            Kind::Event => self.open(key, now).map(Report::Event),
            Kind::Result => self.open(key, now).map(|result| Report::Result(Box::new(result))),
            Kind::Heartbeat => self.open(key, now).map(Report::Heartbeat),
            Kind::Command | Kind::Cancel => Err(Refusal::WrongType),
        }
    }
}

/// What an agent reports, known to come from it.
#[derive(Debug)]
pub enum Report {
    /// Progress.
    Event(Authentic<EventReport>),
    /// An end.
    Result(Box<Authentic<ResultReport>>),
    /// Presence.
    Heartbeat(Authentic<Heartbeat>),
}

/// Known to come from its issuer, not yet known to be meant for here and now.
#[derive(Clone, Debug)]
pub struct Authentic<T> {
    body: T,
    digest: String,
    keyid: String,
    json: Vec<u8>,
}

impl<T> Authentic<T> {
    /// What it says.
    pub const fn body(&self) -> &T {
        &self.body
    }

    /// SHA-256 of the signed payload, in hexadecimal.
    pub fn digest(&self) -> &str {
        &self.digest
    }
}

/// Has passed every check.
#[derive(Clone, Debug)]
pub struct Verified<T>(Authentic<T>);

impl<T> Verified<T> {
    /// What it says.
    pub const fn body(&self) -> &T {
        &self.0.body
    }

    /// SHA-256 of the signed payload, in hexadecimal.
    pub fn digest(&self) -> &str {
        &self.0.digest
    }

    /// The key that signed it.
    pub fn keyid(&self) -> &str {
        &self.0.keyid
    }

    /// The envelope, byte for byte as it came.
    pub fn json(&self) -> &[u8] {
        &self.0.json
    }
}

/// What the plane sends to an agent, known to come from the plane and to be meant for this host.
#[derive(Clone, Debug)]
pub enum Inbound {
    /// Run this.
    Command(Authentic<Command>),
    /// Stop that.
    Cancel(Authentic<Cancel>),
}

/// Opens what arrived for the server `hostname`, up to and including inclusion. Time comes
/// apart, by [`Authentic::in_time`], because a command that is authentic but late is answered.
pub fn inbound(message: &[u8], hostname: &str, keys: &[TrustedKey], now: Time) -> Result<Inbound, Refusal> {
    if message.len() > ENVELOPE_BYTES_MAX {
        return Err(Refusal::TooLarge);
    }
    let addressed: Addressed = from_object(message).ok_or(Refusal::Malformed)?;
    let sealed = Sealed::parse(addressed.envelope.get().as_bytes(), &[Kind::Command, Kind::Cancel])?;
    let key = keys.iter().find(|trusted| trusted.key.keyid() == sealed.keyid());
    let meant = |targets: &Targets| {
        let included = includes(hostname, &addressed.proof, targets.count, &targets.root);
        included.then_some(()).ok_or(Refusal::NotIncluded)
    };
    if sealed.kind() == Kind::Command {
        let command = sealed.open::<Command>(key, now)?;
        meant(&command.body.targets)?;
        return Ok(Inbound::Command(command));
    }
    let cancel = sealed.open::<Cancel>(key, now)?;
    meant(&cancel.body.targets)?;
    Ok(Inbound::Cancel(cancel))
}

/// What is valid for a span of time.
pub trait Timed {
    /// When it was signed.
    fn issued_at(&self) -> Time;
    /// It counts only before this.
    fn expires_at(&self) -> Time;
}

impl Timed for Command {
    fn issued_at(&self) -> Time {
        self.issued_at
    }
    fn expires_at(&self) -> Time {
        self.expires_at
    }
}

impl Timed for Cancel {
    fn issued_at(&self) -> Time {
        self.issued_at
    }
    fn expires_at(&self) -> Time {
        self.expires_at
    }
}

impl<T: Timed> Authentic<T> {
    /// Issued by now, not expired, not valid for too long.
    pub fn in_time(self, now: Time) -> Result<Verified<T>, Refusal> {
        let (issued, expires) = (self.body.issued_at(), self.body.expires_at());
        match () {
            () if issued > now.plus(CLOCK_SKEW_MAX) => Err(Refusal::FromTheFuture),
            () if expires <= now => Err(Refusal::Expired),
            () if expires > issued.plus(VALIDITY_MAX) => Err(Refusal::ValidTooLong),
            () => Ok(Verified(self)),
        }
    }
}

/// What is known of the command that a report answers.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// SHA-256 of the stored command's payload.
    pub command_digest: &'a str,
    /// Whether the reporting host is one of its targets.
    pub is_target: bool,
}

/// What answers a command.
pub trait Answer {
    /// The digest of the command that it answers.
    fn command_digest(&self) -> &str;
}

impl Answer for EventReport {
    fn command_digest(&self) -> &str {
        &self.command_digest
    }
}

impl Answer for ResultReport {
    fn command_digest(&self) -> &str {
        &self.command_digest
    }
}

impl<T: Answer> Authentic<T> {
    /// It answers the command that was sent, and to this host. Results never expire.
    pub fn answers(self, asked: Option<Asked<'_>>) -> Result<Verified<T>, Refusal> {
        match asked {
            None => Err(Refusal::UnknownTask),
            Some(asked) if asked.command_digest != self.body.command_digest() => Err(Refusal::WrongDigest),
            Some(asked) if !asked.is_target => Err(Refusal::NotATarget),
            Some(_) => Ok(Verified(self)),
        }
    }
}

impl Authentic<Heartbeat> {
    /// Newer than the newest one known, `(boot_id, counter)`.
    pub fn newer_than(self, known: Option<(&str, u64)>) -> Result<Verified<Heartbeat>, Refusal> {
        let this = (self.body.boot_id.as_str(), self.body.counter);
        if known.is_some_and(|known| this <= known) {
            return Err(Refusal::Replayed);
        }
        Ok(Verified(self))
    }
}
