//! The program itself, as an operator and a service manager meet it: what it says, what it leaves in
//! its folder, and how it ends.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so")]

mod doctor;
mod enroll;
mod plane;
mod run;

use std::path::Path;
use std::process::Output;
use std::time::Duration;

use tokio::process::Command;

/// How long the program may take for one thing on a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// `muster-agent` on `folder`, with no settings but that one.
pub fn agent(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_muster-agent"));
    command.env_clear().env("MUSTER_AGENT_DIR", folder).kill_on_drop(true);
    command
}

/// Runs it to its end.
pub async fn ended(command: &mut Command) -> Output {
    tokio::time::timeout(PATIENCE, command.output()).await.unwrap().unwrap()
}

/// It ended with `status` and said one sentence on standard error, with all of `words` in it.
pub fn assert_refused(output: &Output, status: i32, words: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{said}");
    assert_eq!(said.trim_end().lines().count(), 1, "{said}");
    for word in words {
        assert!(said.contains(word), "{word}: {said}");
    }
}
