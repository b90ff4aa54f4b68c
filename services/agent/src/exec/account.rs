//! Which user a command runs as.
//!
//! User and groups are looked up before the fork, because the name service (files, LDAP, sssd) takes
//! locks and memory that a forked child of a threaded program must not touch. The child is handed
//! numbers only. Whether the host's policy allows the user is decided elsewhere; what is decided here
//! is whether the operating system would.

use std::ffi::CString;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::unistd::{Gid, Uid, User, getegid, geteuid, getgrouplist, getgroups};

/// A user, with all that is needed to become it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
    /// The supplementary groups, the primary one among them.
    pub groups: Vec<u32>,
    pub home: PathBuf,
    pub shell: PathBuf,
}

/// Why a command cannot run as the user it asks for; each is the sentence of a `rejected`.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccountError {
    #[error("this server has no user `{0}`")]
    Unknown(String),
    #[error("the agent runs as `{agent}` and may not become `{wanted}`")]
    NotRoot { agent: String, wanted: String },
    #[error("the user `{name}` could not be looked up: {reason}")]
    Lookup { name: String, reason: Errno },
}

impl Account {
    /// The agent's own account, as its process has it now.
    ///
    /// # Errors
    /// [`AccountError::Lookup`] when the name service fails. A uid without a name is no error, as
    /// containers often run so: it is called by its number.
    pub fn current() -> Result<Account, AccountError> {
        let uid = geteuid();
        let lookup = |reason| AccountError::Lookup { name: uid.to_string(), reason };
        let groups = getgroups().map_err(lookup)?;
        let user = found(User::from_uid(uid)).map_err(lookup)?;
        let (name, home, shell) = match user {
            Some(user) => (user.name, user.dir, user.shell),
            None => (uid.to_string(), "/".into(), "/bin/sh".into()),
        };
        Ok(Account {
            name,
            uid: uid.as_raw(),
            gid: getegid().as_raw(),
            groups: groups.into_iter().map(Gid::as_raw).collect(),
            home,
            shell,
        })
    }

    /// The account a command runs as that asks for `name`; the agent's own when it asks for none.
    /// May wait for a remote name service.
    ///
    /// # Errors
    /// See [`AccountError`].
    pub fn resolve(name: Option<&str>) -> Result<Account, AccountError> {
        Self::current()?.becoming(name)
    }

    /// [`Account::resolve`] for an agent that runs as `self`.
    ///
    /// # Errors
    /// See [`AccountError`].
    pub fn becoming(self, name: Option<&str>) -> Result<Account, AccountError> {
        let Some(name) = name else { return Ok(self) };
        let lookup = |reason| AccountError::Lookup { name: name.to_owned(), reason };
        let unknown = || AccountError::Unknown(name.to_owned());
        let user = found(User::from_name(name)).map_err(lookup)?.ok_or_else(unknown)?;
        if user.uid.as_raw() == self.uid {
            return Ok(self);
        }
        if !Uid::from_raw(self.uid).is_root() {
            return Err(AccountError::NotRoot { agent: self.name, wanted: user.name });
        }
        let c_name = CString::new(user.name.as_str()).map_err(|_| unknown())?;
        let groups = getgrouplist(&c_name, user.gid).map_err(lookup)?;
        Ok(Account {
            name: user.name,
            uid: user.uid.as_raw(),
            gid: user.gid.as_raw(),
            groups: groups.into_iter().map(Gid::as_raw).collect(),
            home: user.dir,
            shell: user.shell,
        })
    }
}

/// POSIX lets a name service say "no such user" with an error too.
fn found(answer: nix::Result<Option<User>>) -> nix::Result<Option<User>> {
    match answer {
        Err(Errno::ENOENT | Errno::ESRCH) => Ok(None),
        answer => answer,
    }
}
