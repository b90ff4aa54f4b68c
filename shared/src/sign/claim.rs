//! What a message that was refused claims to be, for the people who look into it. Nothing here lets
//! anything be executed or stored as a result: that takes a [`Verified`](super::Verified).

use serde::Deserialize;

use super::dsse::from_object;
use super::verify::{Sealed, TrustedKey};
use crate::clock::Time;
use crate::contract::envelope::Addressed;
use crate::contract::signed::Kind;
use crate::id::TaskId;
use crate::name::Hostname;

/// A message that has the form of an envelope, whoever made it.
#[derive(Debug)]
pub struct Claim {
    sealed: Sealed,
    body: Body,
}

/// What may stand in any payload; other types than text are no claim.
#[derive(Debug, Default, Deserialize)]
struct Body {
    iss: Option<String>,
    task_id: Option<String>,
}

impl Claim {
    /// Reads an envelope, alone or beside a proof; `None` when it is neither.
    pub fn read(message: &[u8]) -> Option<Self> {
        let sealed = Sealed::parse(message, &Kind::ALL).ok().or_else(|| {
            let addressed: Addressed = from_object(message)?;
            Sealed::parse(addressed.envelope.get().as_bytes(), &Kind::ALL).ok()
        })?;
        let body = from_object(sealed.payload()).unwrap_or_default();
        Some(Self { sealed, body })
    }

    /// What it claims to be.
    pub const fn kind(&self) -> Kind {
        self.sealed.kind()
    }

    /// The key that it names.
    pub fn keyid(&self) -> &str {
        self.sealed.keyid()
    }

    /// The host that it claims to come from, if that can be one's name.
    pub fn hostname(&self) -> Option<String> {
        let name = Hostname::parse("iss", self.body.iss.as_deref()?).ok()?;
        Some(name.as_str().to_owned())
    }

    /// The task that it claims to be about, if that can be one's id.
    pub fn task_id(&self) -> Option<String> {
        let id = TaskId::parse(self.body.task_id.as_deref()?).ok()?;
        Some(id.as_str().to_owned())
    }

    /// The signed text.
    pub fn payload(&self) -> String {
        String::from_utf8_lossy(self.sealed.payload()).into_owned()
    }

    /// Whether `key` is the one that it names, counts now, signed it, and belongs to whom it claims to
    /// come from.
    pub fn holds(self, key: Option<&TrustedKey>, now: Time) -> bool {
        self.sealed.holds(key, now)
    }
}
