//! DSSE on the wire (<https://github.com/secure-systems-lab/dsse>, protocol version 1), and the
//! form in which a server gets one: the task's envelope, the same for all, beside its own proof.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::object::{object, objects};

/// A signed message as JSON. `payload` and `sig` are base64.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Envelope {
    /// The signed media type of the payload.
    pub payload_type: String,
    /// The signed bytes.
    pub payload: String,
    /// Exactly one signature.
    #[serde(deserialize_with = "objects")]
    pub signatures: Vec<Signature>,
}

/// One signature over an envelope.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Signature {
    /// Which key may have made it: a hint for finding the key, never a reason to trust it.
    pub keyid: String,
    /// The signature itself.
    pub sig: String,
}

/// A command or cancel as one server receives it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Addressed {
    /// The envelope, byte for byte as it was signed and stored.
    pub envelope: Box<RawValue>,
    /// That this server is among the signed targets.
    #[serde(deserialize_with = "object")]
    pub proof: Proof,
}

/// An RFC 6962 inclusion proof; the tree's size is the signed `targets.count`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// The leaf's place among the sorted hostnames, from 0.
    pub index: u64,
    /// The sibling hashes from the leaf upwards, in hexadecimal.
    pub hashes: Vec<String>,
}
