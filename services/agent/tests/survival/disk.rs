//! A disk that is full or read-only: nothing runs that is not journalled, nothing that ran is lost, and
//! the heartbeat goes on and tells. On a real file system of 2 MiB, which takes root to mount.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command as Program;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use agent::exec::{End, Outcome, Script};
use nix::unistd::geteuid;
use shared::bus::Verdict;
use shared::rules::invocation::Ending;
use tempfile::TempDir;

use crate::host::{Host, START, command, ends};

/// A small file system of its own. Unmounted with the last user.
struct Disk(TempDir);

impl Disk {
    /// `None`, with a word on the terminal, where it cannot be mounted.
    fn mount() -> Option<Self> {
        let point = tempfile::tempdir().unwrap();
        let mut mount = Program::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"]).arg(point.path());
        if !geteuid().is_root() || !mount.status().is_ok_and(|status| status.success()) {
            let why = "NOT CHECKED: a small disk cannot be mounted here\n";
            std::io::stderr().write_all(why.as_bytes()).unwrap();
            return None;
        }
        fs::create_dir(point.path().join("agent")).unwrap();
        Some(Self(point))
    }

    fn folder(&self) -> PathBuf {
        self.0.path().join("agent")
    }

    fn remount(&self, how: &str) {
        let done = Program::new("mount").args(["-o", &format!("remount,{how}")]).arg(self.0.path()).status();
        assert!(done.unwrap().success());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        _ = Program::new("umount").arg("-l").arg(self.0.path()).status(); // as good as it can be cleaned up
    }
}

/// Writes until there is no more room.
fn fill(folder: &Path) {
    let mut filler = fs::File::create(folder.join("filler")).unwrap();
    while filler.write_all(&[7; 4_096]).is_ok() {}
    while filler.write_all(&[7]).is_ok() {}
}

fn empty(folder: &Path) {
    fs::remove_file(folder.join("filler")).unwrap();
}

/// A command that takes room.
fn large(task_id: &str) -> Vec<u8> {
    command(task_id, &format!("true {}", "#".repeat(60_000)), START).0
}

#[tokio::test]
async fn full_at_the_acceptance_it_leaves_the_command_with_the_broker() {
    let Some(disk) = Disk::mount() else { return };
    let host = Host::at(&disk.folder(), ends).await;
    assert_eq!(host.heartbeat().await.trouble, None);
    fill(&host.folder);
    assert_eq!(host.take(&[large("t")]).await, [Verdict::Again]);
    assert!(host.started().is_empty());
    let trouble = host.heartbeat().await.trouble.unwrap();
    assert!(trouble.contains("disk is full") && trouble.contains("make room"), "{trouble}");
    host.chore("tidy").await;
    empty(&host.folder);
    assert_eq!(host.heartbeat().await.trouble, None, "it notices by itself");
    assert_eq!(host.take(&[large("t")]).await, [Verdict::Done]);
    assert_eq!(host.result().await.status, Ending::Succeeded);
    assert_eq!(host.started(), ["t"]);
    host.agent.finish(std::time::Duration::ZERO).await;
}

#[tokio::test]
async fn full_at_the_end_it_keeps_the_result_and_takes_nothing_new() {
    let Some(disk) = Disk::mount() else { return };
    let (folder, filled) = (disk.folder(), Arc::new(AtomicBool::new(false)));
    let first = Arc::clone(&filled);
    let script = move |_: &agent::exec::Job| {
        if !first.swap(true, Ordering::SeqCst) {
            fill(&folder); // it was journalled as starting
        }
        Script::Ends(Outcome::new(End::Exited(0), &"x".repeat(200_000)))
    };
    let host = Host::at(&disk.folder(), script).await;
    host.take(&[large("first")]).await;
    host.until_started(1).await;
    let start = std::time::Instant::now();
    while host.heartbeat().await.trouble.is_none() {
        assert!(start.elapsed().as_secs() < 30, "it does not tell");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert_eq!(host.take(&[large("second")]).await, [Verdict::Again]);
    host.results(0).await;
    empty(&host.folder);
    let result = host.result().await;
    assert_eq!((result.task_id.as_str(), result.stdout.len()), ("first", 200_000));
    assert_eq!(host.started(), ["first"], "no other one was started meanwhile");
    host.agent.finish(std::time::Duration::ZERO).await;
}

#[tokio::test]
async fn read_only_it_goes_on_telling_and_takes_up_its_work_again() {
    let Some(disk) = Disk::mount() else { return };
    let host = Host::at(&disk.folder(), ends).await;
    host.heartbeat().await;
    let host = host.restarted(|_| disk.remount("ro")).await;
    assert_eq!(host.take(&[large("t")]).await, [Verdict::Again]);
    let trouble = host.heartbeat().await.trouble.unwrap();
    assert!(trouble.contains("journal.db"), "{trouble}");
    disk.remount("rw");
    assert_eq!(host.take(&[large("t")]).await, [Verdict::Done]);
    assert_eq!(host.result().await.status, Ending::Succeeded);
    assert_eq!(host.heartbeat().await.trouble, None);
    host.agent.finish(std::time::Duration::ZERO).await;
}
