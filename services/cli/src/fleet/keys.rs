//! The simulated servers: names, and a key each. Making an RSA key takes a core a tenth of a second or
//! more, so they are made on all cores, and can be kept in a folder.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _};
use shared::config;
use shared::error::{Error, Result};
use shared::name::Hostname;
use shared::sign::SigningKey;

use super::{Args, KeyBits};
use crate::run::progress::Progress;

/// Cores to make keys on when the machine does not say how many it has.
const CORES_DEFAULT: usize = 2;

/// A simulated server.
#[derive(Debug)]
pub struct Host {
    /// Its name.
    pub hostname: Hostname,
    /// Its own key.
    pub key: SigningKey,
}

/// Cores that there are to work on.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(CORES_DEFAULT, Into::into)
}

/// All simulated servers, each with its key.
pub async fn hosts(args: &Args) -> Result<Vec<Arc<Host>>> {
    if let Some(folder) = &args.keys {
        config::make_dir(folder).map_err(|error| unusable(folder, &error))?;
    }
    let progress = Progress::new();
    let made = (1..=args.agents).map(|number| host(args, number));
    let counted = futures::stream::iter(made).buffered(cores()).enumerate().map(|(place, host)| {
        progress.say(&format!("{} of {} keys", place + 1, args.agents));
        host
    });
    counted.try_collect().await
}

async fn host(args: &Args, number: i64) -> Result<Arc<Host>> {
    let hostname = Hostname::parse("--prefix", &format!("{}{number:05}", args.prefix))?;
    let (bits, file) = (args.key_bits, args.keys.as_deref().map(|folder| file(folder, &hostname, args.key_bits)));
    let work = move || key(bits, file.as_deref());
    let key = tokio::task::spawn_blocking(work).await.map_err(Error::internal)??;
    Ok(Arc::new(Host { hostname, key }))
}

fn file(folder: &Path, hostname: &Hostname, bits: KeyBits) -> PathBuf {
    folder.join(format!("{hostname}.{}.pem", bits.bits()))
}

/// The key in `file`; a new one, written there, when there is none.
fn key(bits: KeyBits, file: Option<&Path>) -> Result<SigningKey> {
    if let Some(file) = file.filter(|file| file.exists()) {
        let pem = std::fs::read_to_string(file).map_err(|error| unusable(file, &error))?;
        return SigningKey::from_pem(&pem).map_err(|error| unusable(file, &error));
    }
    let key = match bits {
        KeyBits::Small => SigningKey::generate_small()?,
        KeyBits::Usual => SigningKey::generate()?,
    };
    if let Some(file) = file {
        config::write_secret(file, &key.to_pem()?).map_err(|error| unusable(file, &error))?;
    }
    Ok(key)
}

fn unusable(path: &Path, why: &dyn std::fmt::Display) -> Error {
    Error::bad_input(format!("`{}` cannot be used: {why}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_key_is_kept_for_its_owner_alone_and_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("sim-00001.2048.pem");
        let made = key(KeyBits::Small, Some(&file)).unwrap();
        assert_eq!(key(KeyBits::Small, Some(&file)).unwrap().keyid(), made.keyid());
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::write(&file, "nonsense").unwrap();
        assert!(key(KeyBits::Small, Some(&file)).unwrap_err().detail().contains("sim-00001.2048.pem"));
    }
}
