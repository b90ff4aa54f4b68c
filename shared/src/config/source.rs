//! Where settings come from: the environment first, then an optional TOML file. A secret may also be
//! in a file of its own, as orchestrators hand them out. Every complaint names the setting, and none
//! shows a secret.

use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr;

use super::key::{self, Key};
use crate::crash;
use crate::error::{Error, Result};

/// The settings that were given, by name.
#[derive(Clone)]
pub struct Source(BTreeMap<String, String>);

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish() // names alone: values may be secrets
    }
}

impl Source {
    /// Reads the environment, and the file that it names.
    pub fn load() -> Result<Self> {
        let env: Vec<_> = std::env::vars_os()
            .filter_map(|(name, value)| {
                let name = name.into_string().ok().filter(|name| name.starts_with("MUSTER_"))?;
                Some((name, value.to_string_lossy().into_owned()))
            })
            .collect();
        for name in env.iter().map(|(name, _)| name).filter(|name| is_stray(name)) {
            tracing::warn!("{} is no setting of Muster and has no effect; check its spelling", name.escape_debug());
        }
        Self::from_vars(env)
    }

    /// The same of the given variables. An empty one counts as absent.
    pub fn from_vars(vars: impl IntoIterator<Item = (String, String)>) -> Result<Self> {
        let vars: BTreeMap<_, _> = vars.into_iter().filter(|(_, value)| !value.is_empty()).collect();
        let mut all = vars.get(key::CONFIG.name).map_or_else(|| Ok(BTreeMap::new()), |path| file(Path::new(path)))?;
        all.extend(vars);
        Ok(Self(all))
    }

    /// A setting, if it was given.
    pub fn get(&self, key: Key) -> Option<&str> {
        self.0.get(key.name).map(String::as_str)
    }

    /// A setting without which the program cannot start.
    pub fn need(&self, key: Key) -> Result<&str> {
        self.get(key).ok_or_else(|| missing(key))
    }

    /// A setting of some type; `form` says what it must look like.
    pub fn parse<T: FromStr>(&self, key: Key, form: &str) -> Result<Option<T>> {
        let wrong = |_| Error::bad_input(format!("{} must be {form}", key.name));
        self.get(key).map(|text| text.parse().map_err(wrong)).transpose()
    }

    /// A secret, from the setting itself or from the file that `NAME_FILE` names.
    pub fn secret(&self, key: Key) -> Result<Option<String>> {
        if let Some(text) = self.get(key) {
            return Ok(Some(text.to_owned()));
        }
        let from = format!("{}_FILE", key.name);
        let Some(path) = self.0.get(&from) else { return Ok(None) };
        let text = std::fs::read_to_string(path)
            .map_err(|error| Error::bad_input(format!("{from} names {path}, which cannot be read: {error}")))?;
        Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty()))
    }

    /// A secret without which the program cannot start.
    pub fn need_secret(&self, key: Key) -> Result<String> {
        self.secret(key)?.ok_or_else(|| missing(key))
    }
}

fn missing(key: Key) -> Error {
    Error::bad_input(format!("{} is not set: {}", key.name, key.meaning))
}

/// The settings in a TOML file: a flat table of names, with strings, numbers or booleans.
fn file(path: &Path) -> Result<BTreeMap<String, String>> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| {
        Error::bad_input(format!("{} names {shown}, which cannot be read: {error}", key::CONFIG.name))
    })?;
    let table: toml::Table = toml::from_str(&text).map_err(|error| {
        Error::bad_input(format!("{shown} must be TOML with a setting on each line: {}", error.message()))
    })?;
    table.into_iter().map(|(name, value)| Ok((known(&name, path)?, text_of(&name, value)?))).collect()
}

fn text_of(name: &str, value: toml::Value) -> Result<String> {
    match value {
        toml::Value::String(text) => Ok(text),
        toml::Value::Integer(number) => Ok(number.to_string()),
        toml::Value::Boolean(truth) => Ok(truth.to_string()),
        _ => Err(Error::bad_input(format!("{name} must be a text, a whole number, or true or false"))),
    }
}

/// A misspelt name would silently leave its setting at the default.
fn known(name: &str, path: &Path) -> Result<String> {
    if is_setting(name) {
        return Ok(name.to_owned());
    }
    Err(Error::bad_input(format!("{} holds `{}`, which is no setting of Muster", path.display(), name.escape_debug())))
}

fn is_setting(name: &str) -> bool {
    key::ALL.iter().any(|key| key.is_called(name))
}

/// Whether no program of Muster knows a variable. Unlike a line of the file it may be meant for a newer
/// or an older one on the same machine, so it stops nothing.
fn is_stray(name: &str) -> bool {
    let mut elsewhere = key::ELSEWHERE.iter().map(|(known, _)| *known).chain(crash::ARMED.then_some(crash::VARIABLE));
    !is_setting(name) && !elsewhere.any(|known| known == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(vars: &[(&str, &str)]) -> Result<Source> {
        Source::from_vars(vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    #[test]
    fn the_environment_comes_before_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("muster.toml");
        std::fs::write(&path, "MUSTER_LISTEN = \"1.2.3.4:5\"\nMUSTER_DATABASE_CONNECTIONS = 7\n").unwrap();
        let path = path.to_str().unwrap();
        let both = source(&[("MUSTER_CONFIG", path), ("MUSTER_LISTEN", "6.7.8.9:1")]).unwrap();
        assert_eq!(both.get(key::LISTEN), Some("6.7.8.9:1"));
        assert_eq!(both.parse::<u32>(key::DATABASE_CONNECTIONS, "a number").unwrap(), Some(7));
        let empty = source(&[("MUSTER_CONFIG", path), ("MUSTER_LISTEN", "")]).unwrap();
        assert_eq!(empty.get(key::LISTEN), Some("1.2.3.4:5"), "an empty variable is none");
    }

    #[test]
    fn a_file_that_cannot_be_used_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("muster.toml");
        for (text, said) in [
            ("MUSTER_LISTN = \"x\"", "`MUSTER_LISTN`"),
            ("MUSTER_LISTEN = [1]", "MUSTER_LISTEN"),
            ("MUSTER_LISTEN", "muster.toml"),
            ("MUSTER_LISTEN_FILE = \"x\"", "MUSTER_LISTEN_FILE"),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = source(&[("MUSTER_CONFIG", path.to_str().unwrap())]).unwrap_err();
            assert!(error.detail().contains(said), "{text}: {}", error.detail());
        }
        assert!(source(&[("MUSTER_CONFIG", "/nowhere/muster.toml")]).unwrap_err().detail().contains("MUSTER_CONFIG"));
    }

    #[test]
    fn a_misspelt_variable_is_noticed() {
        for known in ["MUSTER_LISTEN", "MUSTER_API_TOKEN_FILE", "MUSTER_URL", "MUSTER_TASK_ID"] {
            assert!(!is_stray(known), "{known}");
        }
        for stray in ["MUSTER_LISTN", "MUSTER_LISTEN_FILE", "MUSTER_"] {
            assert!(is_stray(stray), "{stray}");
        }
    }

    #[test]
    fn secrets_come_from_files_too_and_are_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("url");
        std::fs::write(&path, "mysql://u:geheim@h/d\n").unwrap();
        let given =
            source(&[("MUSTER_DATABASE_URL_FILE", path.to_str().unwrap()), ("MUSTER_API_TOKEN", "geheim")]).unwrap();
        assert_eq!(given.need_secret(key::DATABASE_URL).unwrap(), "mysql://u:geheim@h/d");
        assert!(!format!("{given:?}").contains("geheim"));
        assert!(given.need_secret(key::BROKER_URL).unwrap_err().detail().contains("MUSTER_BROKER_URL"));
        let error = given.parse::<u8>(key::API_TOKEN, "a number").unwrap_err();
        assert!(!error.detail().contains("geheim"));
    }
}
