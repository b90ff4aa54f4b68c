//! Settings, read once at the start into one value. A missing or wrong one stops the start with
//! its name.

#[cfg(test)]
mod docs;
pub mod keep;
pub mod key;
mod source;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use self::keep::Keep;
pub use self::source::Source;
use crate::db::{Db, Lite};
use crate::error::{Error, Result};
use crate::http::guard::Guard;
use crate::sign::SigningKey;

/// Where a plane listens unless told otherwise.
pub const LISTEN_DEFAULT: &str = "127.0.0.1:8080";

/// What a plane is started with. Its `Debug` does not show the token.
#[derive(Clone)]
pub struct Settings {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Where it keeps everything.
    pub data_dir: PathBuf,
    /// What callers must know; without it only callers on this machine are let in.
    pub api_token: Option<String>,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let token = self.api_token.as_ref().map(|_| "(set)");
        let mut shown = f.debug_struct("Settings");
        shown.field("listen", &self.listen).field("data_dir", &self.data_dir).field("api_token", &token).finish()
    }
}

impl Settings {
    /// Who may come in.
    pub fn guard(&self) -> Result<Guard> {
        guard(self.api_token.as_deref(), self.listen)
    }

    /// The folder, made for its owner alone when it is missing.
    pub fn make_data_dir(&self) -> Result<&Path> {
        let made = make_dir(&self.data_dir);
        made.map_err(|error| {
            let path = self.data_dir.display();
            Error::unavailable(format!("the folder {path} cannot be used ({error}); choose another with --data-dir"))
                .because(error)
        })?;
        Ok(&self.data_dir)
    }

    /// The database file, brought up to date.
    pub async fn database(&self) -> Result<Lite> {
        let lite = Lite::open(&self.make_data_dir()?.join("muster.db")).await?;
        Db::Lite(lite.clone()).migrate().await?;
        Ok(lite)
    }

    /// The plane's signing key, made at the first start.
    pub fn signing_key(&self) -> Result<Arc<SigningKey>> {
        signing_key(&self.make_data_dir()?.join("signing-key.pem")).map(Arc::new)
    }
}

/// Who may come in to what listens at `listen`. Closed by default: without a token, loopback only.
pub fn guard(token: Option<&str>, listen: SocketAddr) -> Result<Guard> {
    match token {
        Some(token) => Guard::token(token),
        None if listen.ip().is_loopback() => Ok(Guard::Loopback),
        None => Err(Error::bad_input(format!(
            "listening on {listen} needs an API token, since it is not loopback; set MUSTER_API_TOKEN or listen on 127.0.0.1"
        ))),
    }
}

/// Makes a folder for its owner alone, unless it is there.
pub fn make_dir(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    std::fs::read_dir(path).map(drop)
}

/// The token itself, or what is in its file.
pub fn token(given: Option<String>, file: Option<&Path>) -> Result<Option<String>> {
    let Some(file) = file.filter(|_| given.is_none()) else { return Ok(given) };
    let text = std::fs::read_to_string(file).map_err(|error| {
        Error::bad_input(format!("the token's file {} cannot be read: {error}", file.display())).because(error)
    })?;
    Ok(Some(text.trim().to_owned()))
}

/// The key in `path`, made and written there for its owner alone when there is none.
pub fn signing_key(path: &Path) -> Result<SigningKey> {
    let trouble = |error: std::io::Error| {
        Error::unavailable(format!("the key {} cannot be used: {error}", path.display())).because(error)
    };
    match std::fs::read_to_string(path) {
        Ok(pem) => SigningKey::from_pem(&pem).map_err(|error| {
            Error::unavailable(format!("{} is damaged; restore it from a backup", path.display())).because(error)
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let key = SigningKey::generate()?;
            write_secret(path, &key.to_pem()?).map_err(trouble)?;
            Ok(key)
        }
        Err(error) => Err(trouble(error)),
    }
}

/// Writes a file that is whole or not there at all, readable by its owner alone.
pub fn write_secret(path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let draft = path.with_extension("new");
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&draft, path)?;
    path.parent().map_or(Ok(()), |folder| std::fs::File::open(folder)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(listen: &str, token: Option<&str>) -> Settings {
        Settings { listen: listen.parse().unwrap(), data_dir: "x".into(), api_token: token.map(str::to_owned) }
    }

    #[test]
    fn closed_by_default() {
        assert!(settings("127.0.0.1:1", None).guard().is_ok());
        assert!(settings("0.0.0.0:1", None).guard().is_err());
        assert!(settings("0.0.0.0:1", Some("short")).guard().is_err());
        assert!(settings("0.0.0.0:1", Some("0123456789abcdef")).guard().is_ok());
        assert!(!format!("{:?}", settings("127.0.0.1:1", Some("0123456789abcdef"))).contains("0123"));
    }

    #[test]
    fn a_key_is_made_once_and_readable_by_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.pem");
        let made = signing_key(&path).unwrap();
        assert_eq!(signing_key(&path).unwrap().keyid(), made.keyid());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::write(&path, "nonsense").unwrap();
        assert!(signing_key(&path).unwrap_err().detail().contains("damaged"));
    }
}
