//! One process a folder: two planes on one database would hand out the same messages, and two agents
//! on one journal would take each other's commands for leftovers of a crash.

use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::path::Path;

use crate::error::{Error, Result};

/// Held while a process uses a folder; the system lets go of it when the process ends, however it does.
#[derive(Debug)]
pub struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing the file is not enough: a child that is just being started still has a copy of it. When
        // this fails, the lock is let go of with the last copy.
        let _ = self.0.unlock();
    }
}

impl Lock {
    /// Takes `folder` for this process, as `what`: the name of the lock's file there.
    pub fn take(folder: &Path, what: &str) -> Result<Self> {
        let shown = folder.display();
        let unusable = |error: std::io::Error| {
            Error::unavailable(format!("the folder {shown} cannot be used: {error}")).because(error)
        };
        let path = folder.join(what);
        let file = File::options().create(true).truncate(false).write(true).open(&path);
        let file = file.or_else(|error| match error.kind() {
            ErrorKind::ReadOnlyFilesystem => File::open(&path), // enough for a lock
            _ => Err(error),
        });
        let file = file.map_err(unusable)?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(Error::unavailable(format!(
                "another Muster process uses the folder {shown} already; stop it or choose another folder"
            ))),
            Err(TryLockError::Error(error)) => Err(unusable(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn held_by_one_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let first = Lock::take(folder.path(), "lock").unwrap();
        assert!(Lock::take(folder.path(), "lock").is_err());
        assert!(Lock::take(folder.path(), "other").is_ok());
        drop(first);
        assert!(Lock::take(folder.path(), "lock").is_ok());
    }

    /// As in a child between its fork and its own program.
    #[test]
    fn a_copy_of_the_file_does_not_keep_it() {
        let folder = tempfile::tempdir().unwrap();
        let first = Lock::take(folder.path(), "lock").unwrap();
        let copy = first.0.try_clone().unwrap();
        drop(first);
        assert!(Lock::take(folder.path(), "lock").is_ok());
        drop(copy);
    }
}
