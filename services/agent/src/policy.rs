//! The host's own say: a file on the server that the plane cannot change.
//!
//! It is read for every command, so that a change counts at once, and it fails closed: a file that
//! is missing, unreadable, writable by others or wrong refuses everything. There are no patterns
//! over a command's text, on purpose: `systemctl status x; rm -r y` begins like a harmless one. A
//! command is allowed as a whole, by its exact text or its SHA-256, or any command is.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;
use serde::Deserialize;
use shared::sign::digest;

/// The largest policy that is read, in bytes.
const POLICY_BYTES_MAX: u64 = 1024 * 1024;

/// The policy of a host.
#[derive(Clone, Debug)]
pub struct Policy {
    path: Option<PathBuf>,
    /// It may belong to the agent's own account too, not to root alone.
    may_be_own: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    enabled: bool,
    /// The longest a command may be allowed to run, in seconds.
    #[serde(default)]
    max_timeout: Option<u32>,
    #[serde(default)]
    allow: Vec<Rule>,
}

/// Who may run what.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    /// Accounts, or `*` for every one.
    users: Vec<String>,
    /// Any command.
    #[serde(default)]
    any: bool,
    /// Commands by their exact text.
    #[serde(default)]
    commands: Vec<String>,
    /// Commands by the SHA-256 of their text, in hexadecimal.
    #[serde(default)]
    sha256: Vec<String>,
}

/// Why the host refuses a command.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    #[error("the host's policy cannot be used: {0}")]
    Unusable(String),
    #[error("the host's policy is switched off; set `enabled = true` there")]
    Disabled,
    #[error("the host's policy allows a timeout of at most {0} seconds")]
    Timeout(u32),
    #[error("the host's policy does not allow this command as `{0}`")]
    NotAllowed(String),
}

impl Policy {
    /// The policy in `path`; without one everything is allowed that the agent's account may do.
    /// It must belong to root, so that no command can rewrite it that runs as another account;
    /// `may_be_own` lets it belong to the agent's account, as for a plane of one's own.
    pub const fn new(path: Option<PathBuf>, may_be_own: bool) -> Self {
        Self { path, may_be_own }
    }

    /// Whether it can be used as it is, so that an operator learns early that it cannot.
    pub fn check(&self) -> Result<(), PolicyError> {
        self.read().map(drop)
    }

    /// What it allows, in words, a sentence for each rule.
    pub fn in_words(&self) -> Result<String, PolicyError> {
        let Some(file) = self.read()? else { return Ok("every command is allowed".to_owned()) };
        let most = file.max_timeout.map(|most| format!("for at most {most} seconds"));
        let rules: Vec<_> = file.allow.iter().map(Rule::in_words).chain(most).collect();
        Ok(if file.allow.is_empty() {
            "no command is allowed, since it has no rule".to_owned()
        } else {
            rules.join("; ")
        })
    }

    /// Whether `user` may run `command` for up to `timeout` seconds.
    pub fn judge(&self, user: &str, command: &str, timeout: u32) -> Result<(), PolicyError> {
        let Some(file) = self.read()? else { return Ok(()) };
        if let Some(most) = file.max_timeout.filter(|most| timeout > *most) {
            return Err(PolicyError::Timeout(most));
        }
        let allowed = file.allow.iter().any(|rule| rule.admits(user, command));
        allowed.then_some(()).ok_or_else(|| PolicyError::NotAllowed(user.to_owned()))
    }

    fn read(&self) -> Result<Option<File>, PolicyError> {
        let Some(path) = &self.path else { return Ok(None) };
        let file = read(path, self.may_be_own).map_err(PolicyError::Unusable)?;
        if file.enabled { Ok(Some(file)) } else { Err(PolicyError::Disabled) }
    }
}

impl Rule {
    fn in_words(&self) -> String {
        let users = self.users.join(", ").replace('*', "every account");
        let what = match self.commands.len() + self.sha256.len() {
            _ if self.any => "any command".to_owned(),
            1 => "one command by its exact text".to_owned(),
            number => format!("{number} commands by their exact text"),
        };
        format!("{what} as {users}")
    }

    fn admits(&self, user: &str, command: &str) -> bool {
        let for_user = self.users.iter().any(|allowed| allowed == "*" || allowed == user);
        let by_digest = || self.sha256.iter().any(|hash| hash.eq_ignore_ascii_case(&digest(command.as_bytes())));
        for_user && (self.any || self.commands.iter().any(|allowed| allowed == command) || by_digest())
    }
}

fn read(path: &Path, may_be_own: bool) -> Result<File, String> {
    let shown = path.display();
    let meta = fs::metadata(path).map_err(|error| format!("{shown}: {error}"))?;
    // Whoever can write the file decides what runs here.
    if meta.uid() != 0 && !(may_be_own && meta.uid() == geteuid().as_raw()) {
        return Err(format!("{shown} must belong to root"));
    }
    if meta.mode() & 0o022 != 0 {
        return Err(format!("{shown} must be writable by its owner alone"));
    }
    if meta.len() > POLICY_BYTES_MAX {
        return Err(format!("{shown} is larger than {POLICY_BYTES_MAX} bytes"));
    }
    let text = fs::read_to_string(path).map_err(|error| format!("{shown}: {error}"))?;
    toml::from_str(&text).map_err(|error| format!("{shown}: {}", error.message()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn policy(text: &str, mode: u32) -> (tempfile::TempDir, Policy) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy.toml");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        (folder, Policy::new(Some(path), true))
    }

    #[test]
    fn rules_name_users_and_whole_commands() {
        let hash = digest(b"reboot");
        let text = format!(
            "enabled = true\nmax_timeout = 60\n[[allow]]\nusers = [\"deploy\"]\ncommands = [\"uptime\"]\nsha256 = [\"{hash}\"]\n\
             [[allow]]\nusers = [\"root\"]\nany = true\n"
        );
        let (_folder, policy) = policy(&text, 0o600);
        for (user, command, timeout, allowed) in [
            ("deploy", "uptime", 60, true),
            ("deploy", "reboot", 60, true),
            ("deploy", "uptime; id", 60, false),
            ("deploy", "uptime ", 60, false),
            ("root", "anything", 60, true),
            ("root", "anything", 61, false),
            ("nobody", "uptime", 1, false),
        ] {
            assert_eq!(policy.judge(user, command, timeout).is_ok(), allowed, "{user} {command}");
        }
    }

    #[test]
    fn fails_closed() {
        let open = "enabled = true\n[[allow]]\nusers = [\"*\"]\nany = true\n";
        let gone = policy(open, 0o644).1; // and with it its folder
        assert!(gone.judge("u", "c", 1).is_err());
        let cases = [("enabled = false", 0o600), ("enabled = true", 0o600), ("", 0o600), ("enabled = tru", 0o600)];
        for (text, mode) in cases.into_iter().chain([(open, 0o666), ("enabled = true\nallowed = []", 0o600)]) {
            let (_folder, policy) = policy(text, mode);
            assert!(policy.judge("u", "c", 1).is_err(), "{text}");
        }
        let (_folder, policy) = policy(open, 0o644);
        assert!(policy.judge("u", "c", 1).is_ok());
        assert!(Policy::new(None, false).judge("u", "c", 1).is_ok());
    }
    #[test]
    fn only_a_person_s_own_plane_obeys_a_policy_that_is_not_root_s() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy.toml");
        fs::write(&path, "enabled = true\n[[allow]]\nusers = [\"*\"]\nany = true\n").unwrap();
        let judge = |may_be_own| Policy::new(Some(path.clone()), may_be_own).judge("u", "c", 1);
        assert!(judge(true).is_ok());
        let is_root = geteuid().is_root();
        assert_eq!(judge(false).is_ok(), is_root, "a file of one's own is root's only for root");
        if is_root {
            std::os::unix::fs::chown(&path, Some(12_345), None).unwrap();
            assert!(judge(true).is_err() && judge(false).is_err(), "a stranger's counts for nobody");
        }
    }
}
