//! What is ours, in the hands of others: our signatures are checked by RustCrypto and by OpenSSL,
//! and public keys from elsewhere are read or refused.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that panics has failed, which is its purpose")]

use std::io::{ErrorKind, Write as _};
use std::path::Path;
use std::process::{Command, Output};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rsa::pkcs8::DecodePublicKey as _;
use rsa::sha2::Sha256;
use rsa::signature::Verifier as _;
use rsa::{RsaPublicKey, pkcs1v15, pss};
use serde::Deserialize;
use serde_json::Value;
use shared::contract::key::Algorithm;
use shared::contract::signed::Kind;
use shared::sign::{Envelope, PublicKey, SigningKey};

/// A message of ours, as somebody else reads it.
struct Signed {
    algorithm: Algorithm,
    public_key_pem: String,
    covered: Vec<u8>,
    sig: Vec<u8>,
}

impl Signed {
    fn by(key: &SigningKey) -> Self {
        let body = r#"{"iss":"web-01","stdout":"größer ✓"}"#.as_bytes().to_vec();
        let json = Envelope::sign(Kind::Result, body, key).unwrap().to_json();
        let envelope: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(envelope["signatures"][0]["keyid"], key.keyid());
        Self {
            algorithm: key.algorithm(),
            public_key_pem: key.public().to_pem().unwrap(),
            covered: covered(&envelope),
            sig: decoded(&envelope["signatures"][0]["sig"]),
        }
    }
}

/// The bytes that DSSE signs, put together from the protocol's text.
fn covered(envelope: &Value) -> Vec<u8> {
    let payload_type = envelope["payloadType"].as_str().unwrap();
    let payload = decoded(&envelope["payload"]);
    let head = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len());
    [head.into_bytes(), payload].concat()
}

fn decoded(value: &Value) -> Vec<u8> {
    STANDARD.decode(value.as_str().unwrap()).unwrap()
}

/// One message for each way to sign.
fn ours() -> [Signed; 2] {
    let key = SigningKey::generate().unwrap();
    let same = SigningKey::from_pem(&key.to_pem().unwrap()).unwrap().with_rs256();
    let messages = [Signed::by(&key), Signed::by(&same)];
    assert_eq!(messages.each_ref().map(|signed| signed.algorithm), [Algorithm::PS256, Algorithm::RS256]);
    messages
}

#[test]
fn rustcrypto_verifies_what_we_sign() {
    for signed in ours() {
        assert!(rustcrypto_verifies(&signed, &signed.covered));
        assert!(!rustcrypto_verifies(&signed, b"something else"));
    }
}

fn rustcrypto_verifies(signed: &Signed, message: &[u8]) -> bool {
    let key = RsaPublicKey::from_public_key_pem(&signed.public_key_pem).unwrap();
    let sig = signed.sig.as_slice();
    let verified = match signed.algorithm {
        Algorithm::PS256 => pss::VerifyingKey::<Sha256>::new(key).verify(message, &sig.try_into().unwrap()),
        Algorithm::RS256 => pkcs1v15::VerifyingKey::<Sha256>::new(key).verify(message, &sig.try_into().unwrap()),
    };
    verified.is_ok()
}

#[test]
fn openssl_verifies_what_we_sign() {
    let dir = tempfile::tempdir().unwrap();
    for signed in ours() {
        let Some(good) = openssl_verifies(dir.path(), &signed, &signed.covered) else { return };
        assert!(good, "{:?}", signed.algorithm);
        assert_eq!(openssl_verifies(dir.path(), &signed, b"something else"), Some(false));
    }
}

fn openssl_verifies(dir: &Path, signed: &Signed, message: &[u8]) -> Option<bool> {
    std::fs::write(dir.join("key.pem"), &signed.public_key_pem).unwrap();
    std::fs::write(dir.join("sig"), &signed.sig).unwrap();
    std::fs::write(dir.join("message"), message).unwrap();
    let padding = match signed.algorithm {
        Algorithm::PS256 => "-sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:32 -sigopt rsa_mgf1_md:sha256",
        Algorithm::RS256 => "-sigopt rsa_padding_mode:pkcs1",
    };
    let output = openssl(dir, &format!("dgst -sha256 -verify key.pem -signature sig {padding} message"))?;
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(["Verified OK", "Verification failure"].contains(&said.trim()), "{output:?}");
    Some(output.status.success())
}

/// Runs `openssl` in `dir`. Where there is none, it says so past the capture of the test runner,
/// because a check that did not take place must not look like one that passed.
fn openssl(dir: &Path, arguments: &str) -> Option<Output> {
    match Command::new("openssl").args(arguments.split(' ')).current_dir(dir).output() {
        Ok(output) => Some(output),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            std::io::stderr().write_all(b"NOT CHECKED: there is no `openssl` here to check against\n").unwrap();
            None
        }
        Err(error) => panic!("openssl: {error}"),
    }
}

#[test]
fn openssl_keys_are_read_in_both_forms() {
    let spki = PublicKey::from_pem(include_str!("keys/openssl.pem")).unwrap();
    let pkcs1 = PublicKey::from_pem(include_str!("keys/openssl.pkcs1.pem")).unwrap();
    assert_eq!(spki, pkcs1);
    assert_eq!(spki.to_pem().unwrap(), include_str!("keys/openssl.pem").trim());
}

#[test]
fn a_fresh_openssl_key_is_read_in_both_forms() {
    let dir = tempfile::tempdir().unwrap();
    let read = |file: &str| PublicKey::from_pem(&std::fs::read_to_string(dir.path().join(file)).unwrap()).unwrap();
    for arguments in [
        "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out private.pem",
        "pkey -in private.pem -pubout -out spki.pem",
        "rsa -in private.pem -RSAPublicKey_out -out pkcs1.pem",
    ] {
        let Some(output) = openssl(dir.path(), arguments) else { return };
        assert!(output.status.success(), "{output:?}");
    }
    assert_eq!(read("spki.pem"), read("pkcs1.pem"));
    let private = std::fs::read_to_string(dir.path().join("private.pem")).unwrap();
    assert_eq!(SigningKey::from_pem(&private).unwrap().public(), &read("spki.pem"));
}

#[derive(Deserialize)]
struct NoKey {
    name: String,
    why: String,
    pem: String,
}

#[test]
fn what_is_no_sound_public_key_is_refused() {
    let refused: Vec<NoKey> = serde_json::from_str(include_str!("../../docs/vectors/keys-refused.json")).unwrap();
    assert!(refused.len() >= 30);
    for NoKey { name, why, pem } in refused {
        let Err(error) = PublicKey::from_pem(&pem) else { panic!("{name} ({why}) was accepted") };
        assert!(error.detail().starts_with("`public_key_pem`"), "{name}: {}", error.detail());
        assert_eq!(error.detail().contains("this is a private key"), name.starts_with("private-"), "{name}");
        let echoed = pem.lines().any(|line| line.len() > 20 && !line.contains("--") && error.detail().contains(line));
        assert!(!echoed, "{name}: the answer repeats what was sent");
    }
}
