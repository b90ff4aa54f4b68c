//! The released program: how soon `muster up` is ready, and what it weighs when idle.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::sample::{Sample, memory};

/// Long enough for a few heartbeats to have passed.
const IDLE: Duration = Duration::from_secs(25);

pub fn measure() {
    let folder = tempfile::tempdir().unwrap();
    let mut sample = Sample::default();
    start(folder.path()).stop(); // makes keys and database; the starts after it are warm
    for _ in 0..15 {
        let up = start(folder.path());
        sample.push(up.taken);
        up.stop();
    }
    sample.print("`muster up`, warm start to its ready line");
    let up = start(folder.path());
    std::thread::sleep(IDLE);
    println!("  {:<52} {}", "`muster up` with one agent, idle", memory(up.child.id()));
    up.stop();
}

struct Up {
    child: Child,
    taken: Duration,
}

impl Up {
    fn stop(mut self) {
        interrupt(&self.child);
        assert!(self.child.wait().unwrap().success(), "it stops cleanly");
    }
}

fn start(folder: &Path) -> Up {
    let began = Instant::now();
    let mut child = Command::new(program("muster"))
        .args(["up", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(folder.join("plane"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("ready"), "{line}");
    Up { child, taken: began.elapsed() }
}

fn interrupt(child: &Child) {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
}

/// A released program, beside the bench's own.
fn program(name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let path = own.parent().and_then(Path::parent).unwrap().join(name);
    assert!(path.exists(), "{} is missing; run `cargo build --release` first", path.display());
    path
}
