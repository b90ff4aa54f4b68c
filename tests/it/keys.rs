//! Public keys of the test vectors: sound ones for servers, and all that must be refused.

use serde_json::Value;

/// A sound key in the form in which it is shown, and the same key as PKCS #1.
pub const SPKI: &str = include_str!("../../shared/tests/keys/openssl.pem");
pub const PKCS1: &str = include_str!("../../shared/tests/keys/openssl.pkcs1.pem");

/// Sound keys, no two of them alike.
pub fn sound() -> Vec<String> {
    texts(include_str!("../../docs/vectors/keys.json"), "public_key_pem")
}

/// What is no sound public key, by name.
pub fn refused() -> Vec<(String, String)> {
    let all = include_str!("../../docs/vectors/keys-refused.json");
    texts(all, "name").into_iter().zip(texts(all, "pem")).collect()
}

fn texts(json: &str, field: &str) -> Vec<String> {
    let all: Vec<Value> = serde_json::from_str(json).unwrap();
    all.iter().map(|key| key[field].as_str().unwrap().to_owned()).collect()
}
