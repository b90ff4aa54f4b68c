//! What enrolling leaves in the agent's folder: the name that the server was enrolled with, and the
//! plane's keys, pinned. Commands of other keys are not believed.
//!
//! The keys are in the form in which `GET /api/signing-keys` answers, so that they may also be put
//! there by hand. They are read once, at the start: after a rotation, enrol again with
//! `--trust-new-keys` and restart the agent.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use shared::config::write_secret;
use shared::contract::key::PlaneKey;
use shared::error::{Error, Result};
use shared::name::Hostname;
use shared::sign::PublicKey;

/// The file of the plane's keys.
fn keys_path(folder: &Path) -> PathBuf {
    folder.join("plane-keys.json")
}

/// The file of the server's name.
fn name_path(folder: &Path) -> PathBuf {
    folder.join("hostname")
}

/// Writes down who the server is and whom it believes. The keys come last: what has them is enrolled.
pub fn write(folder: &Path, hostname: &Hostname, keys: &[PlaneKey]) -> Result<()> {
    let text = serde_json::to_string_pretty(keys).map_err(Error::internal)?;
    let put = |path: PathBuf, text: &str| write_secret(&path, text).map_err(|error| unusable(&path, &error));
    put(name_path(folder), hostname.as_str())?;
    put(keys_path(folder), &text)
}

/// The keys that are pinned; `None` when none are yet.
pub fn pinned(folder: &Path) -> Result<Option<Vec<PlaneKey>>> {
    let path = keys_path(folder);
    let Some(text) = read(&path)? else { return Ok(None) };
    let keys: Vec<PlaneKey> = serde_json::from_str(&text).map_err(|error| unusable(&path, &error))?;
    checked(keys).map(Some).map_err(|error| unusable(&path, &error))
}

/// The server's name: as it is `told`, else as it was enrolled, else the machine's own.
///
/// # Errors
/// Also when it was enrolled with another name than it is told: it would listen where nobody sends.
pub fn hostname(folder: &Path, told: Option<&str>) -> Result<Hostname> {
    let path = name_path(folder);
    let enrolled = read(&path)?.map(|name| Hostname::parse("hostname", name.trim())).transpose();
    let enrolled = enrolled.map_err(|error| unusable(&path, &error))?;
    let told = told.map(|name| Hostname::parse("MUSTER_HOSTNAME", name)).transpose()?;
    match (told, enrolled) {
        (Some(told), Some(enrolled)) if told != enrolled => Err(Error::bad_input(format!(
            "this agent is enrolled as `{enrolled}`, not `{told}`; set MUSTER_HOSTNAME to that, or choose another folder with MUSTER_AGENT_DIR"
        ))),
        (Some(name), _) | (None, Some(name)) => Ok(name),
        (None, None) => own_name(),
    }
}

fn own_name() -> Result<Hostname> {
    let name = nix::unistd::gethostname().map_err(Error::internal)?;
    Hostname::parse("MUSTER_HOSTNAME", &name.to_string_lossy())
}

/// The keys to believe, given those that are pinned and what the plane answers. A key that was never
/// pinned is believed only at the first enrolment or when somebody says so: whoever stands between
/// could answer with a key of his own.
pub fn judge(pinned: Option<Vec<PlaneKey>>, answered: Vec<PlaneKey>, trust_new: bool) -> Result<Vec<PlaneKey>> {
    let answered = checked(answered).map_err(|error| {
        Error::unavailable("the control plane answers with keys that cannot be used").because(error)
    })?;
    let Some(pinned) = pinned.filter(|_| !trust_new) else { return Ok(answered) };
    let is_new = |key: &&PlaneKey| !pinned.iter().any(|old| (&old.keyid, old.algorithm) == (&key.keyid, key.algorithm));
    let strangers: Vec<_> = answered.iter().filter(is_new).map(|key| key.keyid.as_str()).collect();
    if strangers.is_empty() {
        return Ok(pinned);
    }
    Err(Error::conflict(format!(
        "the control plane answers with a signing key that is not pinned here ({}); if it was changed on purpose, compare it there and enrol again with --trust-new-keys",
        strangers.join(", ")
    )))
}

/// The keys with the ids that they really have: what people compare must not be what somebody claims.
fn checked(keys: Vec<PlaneKey>) -> Result<Vec<PlaneKey>> {
    if keys.is_empty() {
        return Err(Error::bad_input("there must be one key at least"));
    }
    let check = |key: PlaneKey| {
        let keyid = PublicKey::from_pem(&key.public_key_pem)?.keyid().to_owned();
        Ok(PlaneKey { keyid, ..key })
    };
    keys.into_iter().map(check).collect()
}

fn read(path: &Path) -> Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unusable(path, &error)),
    }
}

fn unusable(path: &Path, why: &dyn std::fmt::Display) -> Error {
    Error::bad_input(format!("{} cannot be used: {why}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;

    use shared::contract::key::Algorithm;
    use shared::sign::SigningKey;

    use super::*;

    /// Two keys: making them takes a while.
    fn keys() -> &'static [PlaneKey; 2] {
        static KEYS: OnceLock<[PlaneKey; 2]> = OnceLock::new();
        KEYS.get_or_init(|| {
            [(), ()].map(|()| {
                let key = SigningKey::generate().unwrap();
                let public_key_pem = key.public().to_pem().unwrap();
                PlaneKey { keyid: key.keyid().to_owned(), algorithm: Algorithm::PS256, public_key_pem }
            })
        })
    }

    fn ids(keys: &[PlaneKey]) -> Vec<&str> {
        keys.iter().map(|key| key.keyid.as_str()).collect()
    }

    #[test]
    fn a_key_that_is_not_pinned_is_believed_at_first_or_when_somebody_says_so() {
        let [a, b] = keys();
        let judge = |pinned: Option<&[&PlaneKey]>, answered: &[&PlaneKey], trust_new| {
            let owned = |keys: &[&PlaneKey]| keys.iter().map(|key| (*key).clone()).collect::<Vec<_>>();
            judge(pinned.map(owned), owned(answered), trust_new).map(|keys| ids(&keys).join(" "))
        };
        let both = format!("{} {}", a.keyid, b.keyid);
        assert_eq!(judge(None, &[a], false).unwrap(), a.keyid);
        assert_eq!(judge(Some(&[a]), &[a], false).unwrap(), a.keyid);
        assert_eq!(judge(Some(&[a, b]), &[a], false).unwrap(), both, "what is pinned stays");
        assert_eq!(judge(Some(&[a]), &[a, b], true).unwrap(), both);
        assert_eq!(judge(Some(&[a]), &[b], true).unwrap(), b.keyid);
        for answered in [[b].as_slice(), &[a, b]] {
            let error = judge(Some(&[a]), answered, false).unwrap_err();
            assert!(error.detail().contains(&b.keyid) && error.detail().contains("--trust-new-keys"), "{error}");
        }
        assert!(judge(None, &[], false).is_err());
    }

    #[test]
    fn a_key_under_the_id_of_another_is_found_out() {
        let [a, b] = keys().clone();
        let forged = PlaneKey { keyid: a.keyid.clone(), ..b.clone() };
        assert!(judge(Some(vec![a]), vec![forged.clone()], false).is_err());
        assert_eq!(ids(&judge(None, vec![forged], false).unwrap()), [b.keyid]);
    }

    #[test]
    fn what_was_written_is_read_and_what_is_damaged_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let name = Hostname::parse("hostname", "web-1").unwrap();
        assert!(pinned(folder.path()).unwrap().is_none());
        write(folder.path(), &name, keys()).unwrap();
        assert_eq!(ids(&pinned(folder.path()).unwrap().unwrap()), ids(keys()));
        assert_eq!(hostname(folder.path(), None).unwrap(), name);
        assert_eq!(hostname(folder.path(), Some("WEB-1")).unwrap(), name);
        assert!(hostname(folder.path(), Some("web-2")).unwrap_err().detail().contains("enrolled as `web-1`"));
        for text in ["", "[]", "{}", "[{\"keyid\": \"x\", \"algorithm\": \"PS256\", \"public_key_pem\": \"x\"}]"] {
            fs::write(keys_path(folder.path()), text).unwrap();
            assert!(pinned(folder.path()).unwrap_err().detail().contains("plane-keys.json"), "{text}");
        }
    }
}
