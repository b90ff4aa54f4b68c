//! What can be told from this server alone.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use nix::sys::statvfs::statvfs;
use nix::unistd::{AccessFlags, access, geteuid};
use shared::config::{Source, key, write_secret};
use shared::error::{Error, Result, chain};
use shared::name::Hostname;
use shared::sign::SigningKey;

use super::{Finding, shown};
use crate::config::{key_path, policy_path};
use crate::enrolment;
use crate::exec::{Account, cgroup_of};
use crate::policy::Policy;

/// Free space below which results may not find room: the spool may grow to 256 MiB.
const FREE_MIB_MIN: u64 = 256;
/// Whom the lock of a running agent belongs to is found here.
const LOCKS: &str = "/proc/locks";

/// The settings, and who this server is.
pub fn settings(source: &Source, hostname: Result<&Hostname, &Error>) -> Finding {
    let found = || {
        source.need_secret(key::BROKER_URL)?;
        let folder = crate::config::folder(source);
        let name = shown(hostname)?;
        let keys = enrolment::pinned(&folder)?.map_or(0, |keys| keys.len());
        if keys == 0 {
            return Err(Error::bad_input("this server is not enrolled; run muster-agent enroll --url URL"));
        }
        Ok(format!("this server is `{name}` and believes {keys} signing key(s) of the control plane"))
    };
    Finding::of("settings", found())
}

/// The folder's owner and mode, and that it can be written.
pub fn folder(folder: &Path) -> Finding {
    let shown = folder.display();
    let found = || {
        let meta = fs::metadata(folder).map_err(|error| unusable(folder, &error))?;
        if meta.mode() & 0o077 != 0 {
            return Err(Error::bad_input(format!("others may look into {shown}; run chmod 700 {shown}")));
        }
        if meta.uid() != geteuid().as_raw() {
            let (owner, own) = (meta.uid(), geteuid());
            return Err(Error::bad_input(format!(
                "{shown} belongs to the user {owner}, and this is {own}; run the doctor as the agent's own user"
            )));
        }
        let probe = folder.join("doctor.probe");
        let written = write_secret(&probe, "muster-agent doctor was here\n");
        let removed = fs::remove_file(&probe);
        written.and(removed).map_err(|error| unusable(folder, &error))?;
        Ok(format!("{shown} is its owner's alone, and can be written to the disk"))
    };
    Finding::of("folder", found())
}

fn unusable(path: &Path, error: &std::io::Error) -> Error {
    let todo = match error.kind() {
        std::io::ErrorKind::NotFound => "make it with muster-agent enroll",
        std::io::ErrorKind::StorageFull => "make room on its disk",
        std::io::ErrorKind::ReadOnlyFilesystem => "mount its disk for writing",
        _ => "see who owns it and what is wrong with its disk",
    };
    Error::unavailable(format!("{} cannot be used ({error}); {todo}", path.display()))
}

/// How much room there is for results that wait.
pub fn space(folder: &Path) -> Finding {
    let found = || {
        let disk = statvfs(folder).map_err(|error| unusable(folder, &error.into()))?;
        let free = disk.blocks_available() * disk.fragment_size() / (1024 * 1024);
        if free < FREE_MIB_MIN {
            return Err(Error::unavailable(format!(
                "{} has {free} MiB of room, and results that wait may take {FREE_MIB_MIN}; make room on that disk",
                folder.display()
            )));
        }
        Ok(format!("{free} MiB are free"))
    };
    Finding::of("space", found())
}

/// Whether an agent runs.
pub fn agent(folder: &Path) -> Finding {
    match running(folder) {
        Some(pid) => Finding::ok("agent", format!("it runs, with the process id {pid}")),
        None => Finding::note("agent", "it does not run; start it, for example with systemctl start muster-agent"),
    }
}

/// The process that holds the folder's lock. Trying to take the lock could get into a starting agent's way.
fn running(folder: &Path) -> Option<String> {
    let inode = fs::metadata(folder.join("agent.lock")).ok()?.ino();
    let locks = fs::read_to_string(LOCKS).ok()?;
    // `1: FLOCK  ADVISORY  WRITE 1234 08:01:5678 0 EOF`
    let holder = |line: &str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let (pid, file) = (fields.get(4)?, fields.get(5)?);
        let is_it = fields.get(1) == Some(&"FLOCK") && file.rsplit(':').next() == Some(&inode.to_string());
        is_it.then(|| (*pid).to_owned())
    };
    locks.lines().find_map(holder)
}

/// The private key and its mode.
pub fn key(folder: &Path) -> Finding {
    let path = key_path(folder);
    let found = || {
        let shown = path.display();
        let meta = fs::metadata(&path).map_err(|error| unusable(&path, &error))?;
        if meta.mode() & 0o077 != 0 {
            return Err(Error::bad_input(format!(
                "others may read {shown}, so this server's results could be forged; run chmod 600 {shown}, and enrol with a new key if somebody did"
            )));
        }
        own_key(folder).map(|key| format!("its id is {}", key.keyid()))
    };
    Finding::of("key", found())
}

/// The private key, which is not made if it is missing.
pub fn own_key(folder: &Path) -> Result<SigningKey> {
    let path = key_path(folder);
    let pem = fs::read_to_string(&path).map_err(|error| unusable(&path, &error))?;
    SigningKey::from_pem(&pem).map_err(|error| {
        let shown = path.display();
        Error::unavailable(format!("{shown} is damaged; restore it from a backup, or remove it and enrol again"))
            .because(error)
    })
}

/// What the host's policy allows.
pub fn policy(source: &Source) -> Finding {
    match Policy::new(Some(policy_path(source)), false).in_words() {
        Ok(words) => Finding::ok("policy", words),
        Err(error) => Finding::wrong("policy", format!("every command is refused: {error}")),
    }
}

/// Which users commands can run as.
pub fn accounts() -> Finding {
    match Account::current() {
        Ok(account) if account.uid == 0 => Finding::ok("accounts", "commands can run as any user"),
        Ok(account) => {
            Finding::note("accounts", format!("commands can run as `{}` alone, since this is not root", account.name))
        }
        Err(error) => Finding::wrong("accounts", chain(&error)),
    }
}

/// Whether commands get a cgroup of their own.
pub fn cgroups(folder: &Path) -> Finding {
    let without = "commands run without cgroups, and their processes are found by other marks";
    let pid = running(folder).unwrap_or_else(|| "self".to_owned());
    let Some(own) = cgroup_of(&pid) else {
        return Finding::note("cgroups", format!("cgroup v2 is not mounted here; {without}"));
    };
    match access(&own, AccessFlags::W_OK) {
        Ok(()) => Finding::ok("cgroups", format!("each command gets a cgroup of its own below {}", own.display())),
        Err(error) => Finding::note(
            "cgroups",
            format!("{} cannot be written ({error}); {without}; with systemd, set Delegate=yes", own.display()),
        ),
    }
}
