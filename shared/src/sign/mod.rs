//! Signed messages: who said it, to whom, and that nothing was changed on the way.
//!
//! DSSE signs raw bytes together with their type, so nothing is parsed before it is verified and a
//! heartbeat can never pass for a result. The algorithm belongs to the stored key, so no message
//! can choose how it is checked. One command for many servers carries one signature: it binds the
//! Merkle root of its targets, and each server gets its own inclusion proof.

mod claim;
mod dsse;
mod key;
mod merkle;
mod verify;

pub use claim::Claim;
pub use dsse::{Envelope, digest, stored_payload};
pub use key::{PublicKey, SigningKey};
pub use merkle::{Tree, includes};
pub use verify::{Asked, Authentic, Inbound, KeyState, Refusal, Report, Sealed, TrustedKey, Verified, inbound};
