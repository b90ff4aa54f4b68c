//! RSA keys. `rsa` reads and checks public keys, `aws-lc-rs` makes keys, signs and verifies: the
//! former has no safe private-key operation (RUSTSEC-2023-0071), so it never sees a private key.

use std::sync::OnceLock;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RSA_PSS_2048_8192_SHA256, RSA_PSS_SHA256, RsaEncoding,
    RsaKeyPair, RsaParameters, UnparsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rsa::RsaPublicKey;
use rsa::pkcs1::DecodeRsaPublicKey as _;
use rsa::pkcs8::der::pem::{LineEnding, decode_vec, encode_string};
use rsa::pkcs8::{DecodePublicKey as _, EncodePublicKey as _};
use rsa::traits::PublicKeyParts as _;

use super::dsse::digest;
use crate::contract::key::Algorithm;
use crate::error::{Error, Result};
use crate::rules::limits::PEM_BYTES_MAX;

/// Sizes of key that are accepted, in bits.
const BITS: std::ops::RangeInclusive<usize> = 2_048..=4_096;

/// A private key that signs. Its `Debug` shows the key id alone.
pub struct SigningKey {
    pair: RsaKeyPair,
    public: PublicKey,
    algorithm: Algorithm,
}

impl SigningKey {
    /// Makes a key of 3,072 bits that signs with PS256.
    pub fn generate() -> Result<Self> {
        let pair = RsaKeyPair::generate(KeySize::Rsa3072).map_err(unspecified)?;
        Self::of(pair)
    }

    /// Makes a key of the least size that is accepted, 2,048 bits: it signs three times as fast.
    pub fn generate_small() -> Result<Self> {
        Self::of(RsaKeyPair::generate(KeySize::Rsa2048).map_err(unspecified)?)
    }

    /// Reads a key from PKCS #8 PEM.
    pub fn from_pem(pem: &str) -> Result<Self> {
        let refused = || Error::bad_input("the private key must be RSA as PKCS #8 PEM (`BEGIN PRIVATE KEY`)");
        let (label, der) = decode_vec(pem.trim().as_bytes()).map_err(|_| refused())?;
        if label != "PRIVATE KEY" {
            return Err(refused());
        }
        Self::of(RsaKeyPair::from_pkcs8(&der).map_err(|_| refused())?)
    }

    fn of(pair: RsaKeyPair) -> Result<Self> {
        let public = PublicKey::from_pkcs1_der(pair.public_key().as_ref())?;
        Ok(Self { pair, public, algorithm: Algorithm::PS256 })
    }

    /// The same key, signing with PKCS #1 v1.5.
    #[must_use]
    pub fn with_rs256(mut self) -> Self {
        self.algorithm = Algorithm::RS256;
        self
    }

    /// The key as PKCS #8 PEM, for a file that only its owner can read.
    pub fn to_pem(&self) -> Result<String> {
        let der = AsDer::<Pkcs8V1Der<'_>>::as_der(&self.pair).map_err(unspecified)?;
        encode_string("PRIVATE KEY", LineEnding::LF, der.as_ref()).map_err(|error| Error::internal(error.to_string()))
    }

    /// The public half.
    pub const fn public(&self) -> &PublicKey {
        &self.public
    }

    /// `sha256:` and the SHA-256 of the public key's DER form.
    pub fn keyid(&self) -> &str {
        &self.public.keyid
    }

    /// How it signs.
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        static RANDOM: OnceLock<SystemRandom> = OnceLock::new();
        let encoding: &dyn RsaEncoding = match self.algorithm {
            Algorithm::PS256 => &RSA_PSS_SHA256,
            Algorithm::RS256 => &RSA_PKCS1_SHA256,
        };
        let mut signature = vec![0; self.pair.public_modulus_len()];
        let random = RANDOM.get_or_init(SystemRandom::new);
        self.pair.sign(encoding, random, message, &mut signature).map_err(unspecified)?;
        Ok(signature)
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey").field("keyid", &self.public.keyid).finish_non_exhaustive()
    }
}

fn unspecified(_: aws_lc_rs::error::Unspecified) -> Error {
    Error::internal("the cryptographic library failed without saying why")
}

/// A public key that was checked: RSA, 2,048 to 4,096 bits, a sane exponent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    keyid: String,
    spki: Vec<u8>,
}

impl PublicKey {
    /// Reads a key as people paste it: SPKI or PKCS #1 PEM, with stray blanks, in one line or many.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it. A private key is refused and never echoed.
    pub fn from_pem(pem: &str) -> Result<Self> {
        if pem.len() > PEM_BYTES_MAX {
            return Err(refused(&format!("at most {PEM_BYTES_MAX} bytes long")));
        }
        if pem.contains("PRIVATE KEY") {
            return Err(refused("the public half; this is a private key, which must never leave its server"));
        }
        let (label, der) = unwrap_pem(pem).ok_or_else(|| refused("PEM that is complete"))?;
        match label.as_str() {
            "PUBLIC KEY" => Self::from_spki_der(&der),
            "RSA PUBLIC KEY" => Self::from_pkcs1_der(&der),
            _ => Err(refused("`BEGIN PUBLIC KEY` or `BEGIN RSA PUBLIC KEY`")),
        }
    }

    /// Reads SPKI DER.
    pub fn from_spki_der(der: &[u8]) -> Result<Self> {
        Self::check(RsaPublicKey::from_public_key_der(der).map_err(|_| refused("an RSA public key"))?)
    }

    fn from_pkcs1_der(der: &[u8]) -> Result<Self> {
        Self::check(RsaPublicKey::from_pkcs1_der(der).map_err(|_| refused("an RSA public key"))?)
    }

    fn check(key: RsaPublicKey) -> Result<Self> {
        if !BITS.contains(&key.n().bits()) {
            return Err(refused(&format!("2048 to 4096 bits, and this one has {}", key.n().bits())));
        }
        // Exponents of 3 and 17 are legal and weak in careless hands; everybody uses 65537.
        if key.e() < &rsa::BigUint::from(65_537u32) {
            return Err(refused("one with the exponent 65537 or greater"));
        }
        let spki = key.to_public_key_der().map_err(Error::internal)?.into_vec();
        Ok(Self { keyid: format!("sha256:{}", digest(&spki)), spki })
    }

    /// `sha256:` and the SHA-256 of the DER form, in hexadecimal.
    pub fn keyid(&self) -> &str {
        &self.keyid
    }

    /// The key as SPKI PEM in its one canonical form, without a final line break.
    pub fn to_pem(&self) -> Result<String> {
        let pem = encode_string("PUBLIC KEY", LineEnding::LF, &self.spki);
        pem.map(|pem| pem.trim_end().to_owned()).map_err(|error| Error::internal(error.to_string()))
    }

    pub(super) fn verifies(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        let parameters: &'static RsaParameters = match algorithm {
            Algorithm::PS256 => &RSA_PSS_2048_8192_SHA256,
            Algorithm::RS256 => &RSA_PKCS1_2048_8192_SHA256,
        };
        UnparsedPublicKey::new(parameters, &self.spki).verify(message, signature).is_ok()
    }
}

fn refused(wanted: &str) -> Error {
    Error::bad_input(format!("`public_key_pem` must be an RSA public key as PEM: {wanted}"))
}

/// Cuts one PEM block out of `text`, whatever the white space around and inside it.
fn unwrap_pem(text: &str) -> Option<(String, Vec<u8>)> {
    let (label, rest) = text.trim().strip_prefix("-----BEGIN ")?.split_once("-----")?;
    let (body, after) = rest.split_once(&format!("-----END {label}-----"))?;
    after.trim().is_empty().then_some(())?;
    let compact: String = body.split_whitespace().collect();
    Some((label.to_owned(), STANDARD.decode(compact).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> &'static SigningKey {
        static KEY: OnceLock<SigningKey> = OnceLock::new();
        KEY.get_or_init(|| SigningKey::generate().unwrap())
    }

    #[test]
    fn pasted_forms_of_one_key_are_one_key() {
        let pem = key().public().to_pem().unwrap();
        let one_line = pem.replace('\n', "").replace("KEY-----", "KEY-----\n").replace("-----END", "\n-----END");
        for form in
            [pem.clone(), format!("\n  {pem}\n\n"), pem.replace('\n', "\r\n"), pem.replace('\n', "  \n"), one_line]
        {
            assert_eq!(&PublicKey::from_pem(&form).unwrap(), key().public(), "{form}");
        }
    }

    #[test]
    fn what_is_no_sound_public_key_is_refused() {
        let pem = key().public().to_pem().unwrap();
        let private = key().to_pem().unwrap();
        let truncated = &pem[..pem.len() / 2];
        let trailing = format!("{pem}\nxx");
        for bad in ["", "hello", truncated, &private, &trailing, &pem.replace("PUBLIC", "SECRET"), &"x".repeat(9_000)] {
            let error = PublicKey::from_pem(bad).unwrap_err();
            assert!(error.detail().starts_with("`public_key_pem`"), "{bad}");
            assert!(!error.detail().contains("MII"), "never echo key material");
        }
    }

    #[test]
    fn private_keys_survive_their_file_and_stay_out_of_debug() {
        let again = SigningKey::from_pem(&key().to_pem().unwrap()).unwrap();
        assert_eq!(again.keyid(), key().keyid());
        assert!(!format!("{:?}", key()).contains("PRIVATE"));
        assert!(SigningKey::from_pem("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----").is_err());
    }

    #[test]
    fn a_signature_holds_for_its_algorithm_alone() {
        let ps = key().sign(b"m").unwrap();
        let rs = SigningKey::from_pem(&key().to_pem().unwrap()).unwrap().with_rs256().sign(b"m").unwrap();
        let public = key().public();
        assert!(public.verifies(Algorithm::PS256, b"m", &ps) && public.verifies(Algorithm::RS256, b"m", &rs));
        assert!(!public.verifies(Algorithm::RS256, b"m", &ps) && !public.verifies(Algorithm::PS256, b"m", &rs));
        assert!(!public.verifies(Algorithm::PS256, b"n", &ps));
    }
}
