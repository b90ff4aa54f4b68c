//! Client keys, which say who may speak for a server, and the plane's own signing keys.

use serde::{Deserialize, Serialize};

use crate::clock::Time;

/// How signatures of a key are made. A property of the stored key, never of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Algorithm {
    /// RSASSA-PSS, SHA-256, salt of 32 bytes.
    #[default]
    PS256,
    /// RSASSA-PKCS1-v1_5, SHA-256; only for keys registered so.
    RS256,
}

impl Algorithm {
    /// The name on the wire and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PS256 => "PS256",
            Self::RS256 => "RS256",
        }
    }

    /// Reads the name; `None` for any other text.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::PS256, Self::RS256].into_iter().find(|algorithm| algorithm.as_str() == text)
    }
}

/// Body of `PUT /api/client-keys/{hostname}`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NewKey {
    /// An RSA public key of 2,048 to 4,096 bits.
    pub public_key_pem: String,
    /// How the agent signs; PS256 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<Algorithm>,
}

/// A server's public key.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ClientKey {
    /// Whose key it is.
    pub hostname: String,
    /// The key in its canonical form.
    pub public_key_pem: String,
    /// When the host first had a key.
    pub created_at: Time,
    /// When this key replaced the one before.
    pub updated_at: Time,
    /// `sha256:` and the SHA-256 of the key's DER form, in hexadecimal.
    pub keyid: String,
    /// How the agent signs.
    pub algorithm: Algorithm,
}

/// One of the plane's public keys, as `GET /api/signing-keys` lists them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PlaneKey {
    /// `sha256:` and the SHA-256 of the key's DER form, in hexadecimal.
    pub keyid: String,
    /// How the plane signs with it.
    pub algorithm: Algorithm,
    /// The key.
    pub public_key_pem: String,
}
