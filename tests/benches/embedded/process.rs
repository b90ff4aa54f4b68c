//! The released programs: how soon `muster up` is ready, and what it and an agent weigh when idle.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::sample::Sample;

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
    println!("  {:<52} {}", "`muster up` with one agent, idle", memory(&up.child));
    up.stop();
    agent(&folder.path().join("alone"));
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

fn agent(folder: &Path) {
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(folder.join("plane-keys.json"), "[]").unwrap();
    let mut child = Command::new(program("muster-agent"))
        .env("MUSTER_HOSTNAME", "idle")
        .env("MUSTER_DATA_DIR", folder)
        .env("MUSTER_LISTEN", "127.0.0.1:0")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(IDLE);
    println!("  {:<52} {}", "`muster-agent` alone, idle", memory(&child));
    interrupt(&child);
    let mut log = String::new();
    child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    assert!(child.wait().unwrap().success(), "{log}");
}

fn interrupt(child: &Child) {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
}

fn memory(child: &Child) -> String {
    let rollup = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", child.id())).unwrap();
    let field = |name: &str| {
        let line = rollup.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().next().unwrap().parse::<f64>().unwrap() / 1024.0
    };
    format!("{:.1} MB resident, {:.1} MB proportional", field("Rss:"), field("Pss:"))
}

/// A released program, beside the bench's own.
fn program(name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let path = own.parent().and_then(Path::parent).unwrap().join(name);
    assert!(path.exists(), "{} is missing; run `cargo build --release` first", path.display());
    path
}
