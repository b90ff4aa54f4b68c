//! DSSE v1 over raw bytes.
//!
//! Source: <https://github.com/secure-systems-lab/dsse/blob/master/protocol.md>. The signature
//! covers `"DSSEv1" SP len(type) SP type SP len(body) SP body`, lengths in decimal bytes.

use aws_lc_rs::digest::{Context, SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};

use super::key::SigningKey;
use crate::contract::envelope as wire;
use crate::contract::object::Object;
use crate::contract::signed::Kind;
use crate::error::{Error, Result};

/// A key id is never longer than this, in bytes.
const KEYID_BYTES_MAX: usize = 128;

/// A signed message: what it says, and one signature over that.
#[derive(Clone, Debug)]
pub struct Envelope {
    pub(super) payload_type: String,
    pub(super) payload: Vec<u8>,
    pub(super) keyid: String,
    pub(super) sig: Vec<u8>,
}

impl Envelope {
    /// Signs `payload` as `kind`.
    ///
    /// # Errors
    /// Only when the cryptographic library fails, which it does not for a key that it made or read.
    pub fn sign(kind: Kind, payload: Vec<u8>, key: &SigningKey) -> Result<Self> {
        let sig = key.sign(&pae(kind.media_type(), &payload))?;
        Ok(Self { payload_type: kind.media_type().to_owned(), payload, keyid: key.keyid().to_owned(), sig })
    }

    /// The envelope as JSON.
    pub fn to_json(&self) -> String {
        let wire = wire::Envelope {
            payload_type: self.payload_type.clone(),
            payload: STANDARD.encode(&self.payload),
            signatures: vec![wire::Signature { keyid: self.keyid.clone(), sig: STANDARD.encode(&self.sig) }],
        };
        serde_json::to_string(&wire).unwrap_or_default() // three strings always serialise
    }

    /// Reads an envelope; `None` when it is not one, or has not exactly one signature.
    pub(super) fn parse(json: &[u8]) -> Option<Self> {
        let wire: wire::Envelope = from_object(json)?;
        let [signature] = <[wire::Signature; 1]>::try_from(wire.signatures).ok()?;
        (signature.keyid.len() <= KEYID_BYTES_MAX).then_some(())?;
        Some(Self {
            payload_type: wire.payload_type,
            payload: decode(&wire.payload)?,
            keyid: signature.keyid,
            sig: decode(&signature.sig)?,
        })
    }

    /// The bytes that the signature covers.
    pub(super) fn signed_bytes(&self) -> Vec<u8> {
        pae(&self.payload_type, &self.payload)
    }

    /// SHA-256 of the payload, in hexadecimal: what a result refers to a command by.
    pub fn digest(&self) -> String {
        digest(&self.payload)
    }
}

/// Reads what is inside an envelope of our own database, where only verified ones are stored.
pub fn stored_payload<T: serde::de::DeserializeOwned>(json: &str) -> Result<T> {
    let envelope = Envelope::parse(json.as_bytes()).ok_or_else(|| Error::internal("a stored envelope is none"))?;
    serde_json::from_slice(&envelope.payload).map_err(Error::internal)
}

/// SHA-256 in hexadecimal.
pub fn digest(bytes: &[u8]) -> String {
    hex::encode(sha256(&[bytes]))
}

/// SHA-256 of the parts one after another.
pub(super) fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    parts.iter().for_each(|part| context.update(part));
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

/// Reads a JSON object, and nothing but an object. All of it must be UTF-8: what `serde` skips it does
/// not look at, and a report with such a field could be verified but never be stored as text.
pub(super) fn from_object<T: serde::de::DeserializeOwned>(json: &[u8]) -> Option<T> {
    let text = std::str::from_utf8(json).ok()?;
    serde_json::from_str(text).ok().map(|Object(body)| body)
}

fn decode(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).or_else(|_| URL_SAFE.decode(text)).ok()
}

fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    bytes.extend_from_slice(payload);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the protocol's own text.
    #[test]
    fn pre_authentication_encoding() {
        let encoded = pae("http://example.com/HelloWorld", b"hello world");
        assert_eq!(encoded, b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
    }

    #[test]
    fn an_envelope_is_an_object_with_one_signature() {
        let sig = r#"{"keyid":"k","sig":"AA=="}"#;
        let with = |signatures: &str| format!(r#"{{"payloadType":"t","payload":"AA==","signatures":{signatures}}}"#);
        assert!(Envelope::parse(with(&format!("[{sig}]")).as_bytes()).is_some());
        let arrays = [format!(r#"["t","AA==",[{sig}]]"#), with(r#"[["k","AA=="]]"#)];
        for bad in [with("[]"), with(&format!("[{sig},{sig}]")), "{}".into()].into_iter().chain(arrays) {
            assert!(Envelope::parse(bad.as_bytes()).is_none(), "{bad}");
        }
        let skipped = with(&format!("[{sig}]")).replacen('{', r#"{"x":"?","#, 1).into_bytes();
        assert!(Envelope::parse(&skipped).is_some(), "unknown fields are skipped");
        let not_utf8: Vec<_> = skipped.iter().map(|byte| if *byte == b'?' { 0xff } else { *byte }).collect();
        assert!(Envelope::parse(&not_utf8).is_none(), "but they must be text");
    }
}
