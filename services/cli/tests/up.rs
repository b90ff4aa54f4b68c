//! The program itself: how it starts, what it says when it cannot, and what it still knows after it
//! was killed.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so")]

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// How long a condition may take to come true on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(30);

fn muster() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_muster"));
    for name in ["MUSTER_URL", "MUSTER_TOKEN", "MUSTER_LISTEN", "MUSTER_DATA_DIR", "MUSTER_API_TOKEN", "RUST_LOG"] {
        command.env_remove(name);
    }
    command
}

/// A running `muster up`, killed when the test is over.
struct Up {
    child: Child,
    url: String,
}

impl Up {
    fn start(folder: &Path, agents: u32) -> Self {
        let mut child = muster()
            .args(["up", "--listen", "127.0.0.1:0", "--agents", &agents.to_string(), "--data-dir"])
            .arg(folder)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let url = line.split_whitespace().find(|word| word.starts_with("http://")).unwrap_or(&line).to_owned();
        Self { child, url }
    }

    fn call(&self, args: &[&str]) -> Output {
        muster().args(["--url", &self.url]).args(args).output().unwrap()
    }

    /// Ends it as a power cut would end the process.
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn interrupt(mut self) -> bool {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
        self.child.wait().unwrap().success()
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        self.child.kill().ok(); // it may have ended already
        self.child.wait().ok();
    }
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "{what} does not come true");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn refused(output: &Output, status: i32, words: &str) {
    let said = stderr(output);
    assert_eq!(output.status.code(), Some(status), "{said}");
    assert!(said.contains(words), "{said}");
    assert_eq!(said.trim_end().lines().count(), 1, "one sentence: {said}");
}

#[test]
fn the_demo_does_the_main_job() {
    let output = muster().args(["demo", "echo", "it", "works"]).output().unwrap();
    let said = stdout(&output);
    assert!(output.status.success(), "{said}{}", stderr(&output));
    assert_eq!(said.matches("it works").count(), 4, "once as the command, once by each agent: {said}");
    assert!(said.contains("3 succeeded") && said.contains("everything holds"), "{said}");
}

#[test]
fn a_user_runs_a_command_and_checks_what_came_back() {
    let folder = tempfile::tempdir().unwrap();
    let up = Up::start(folder.path(), 2);
    let ran = up.call(&["run", "--all", "--", "echo hello"]);
    assert_eq!(ran.status.code(), Some(0), "{}", stderr(&ran));
    assert_eq!(stdout(&ran).matches("hello").count(), 2);
    assert_eq!(up.call(&["run", "--node", "local-1", "--", "exit 3"]).status.code(), Some(1));
    let tasks: serde_json::Value = serde_json::from_str(&stdout(&up.call(&["tasks", "--json"]))).unwrap();
    let task = tasks[1]["task_id"].as_str().unwrap();
    assert!(stdout(&up.call(&["verify", task])).contains("everything holds"));
    let audit = up.call(&["audit-task", task]);
    assert!(audit.status.success() && stdout(&audit).contains("every promise was kept (servers: 2)"), "{audit:?}");
    assert!(stdout(&up.call(&["audit-task", task, "--json"])).contains(r#""holds":true"#));
    assert!(stdout(&up.call(&["servers"])).contains("local-2"));
    assert!(up.interrupt(), "Ctrl-C stops it cleanly");
}

#[test]
fn it_can_be_stopped_as_soon_as_it_says_that_it_is_ready() {
    let folder = tempfile::tempdir().unwrap();
    for _ in 0..5 {
        assert!(Up::start(folder.path(), 0).interrupt(), "Ctrl-C stops it cleanly");
    }
}

#[test]
fn killed_and_started_again_it_has_lost_nothing_and_runs_nothing_twice() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("runs");
    let data = folder.path().join("data");
    let up = Up::start(&data, 1);
    let command = format!("echo ran >> {}; sleep 1000", log.display());
    let accepted = up.call(&["run", "--all", "--no-wait", "--", &command]);
    let task = stdout(&accepted).trim().to_owned();
    until("the command runs", || std::fs::read_to_string(&log).is_ok_and(|text| !text.is_empty()));
    up.kill();
    let up = Up::start(&data, 1);
    let results = || stdout(&up.call(&["results", &task, "--json"]));
    until("it is reported", || results().contains("interrupted"));
    assert_eq!(std::fs::read_to_string(&log).unwrap(), "ran\n", "it ran once");
    assert!(!still_runs(&task), "what was left of it was killed");
    let again = up.call(&["run", "--all", "--", "echo alive"]);
    assert_eq!(again.status.code(), Some(0), "{}", stderr(&again));
}

/// Whether some process of this task is left.
fn still_runs(task: &str) -> bool {
    let marker = format!("MUSTER_TASK_ID={task}");
    let has_marker = |entry: std::io::Result<std::fs::DirEntry>| {
        let environ = entry.and_then(|entry| std::fs::read(entry.path().join("environ"))).unwrap_or_default();
        environ.split(|byte| *byte == 0).any(|variable| variable == marker.as_bytes())
    };
    std::fs::read_dir("/proc").unwrap().any(has_marker)
}

#[test]
fn a_port_or_a_folder_in_use_is_said_in_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let up = Up::start(&folder.path().join("one"), 0);
    let address = up.url.strip_prefix("http://").unwrap();
    let other = folder.path().join("two");
    let port = muster().args(["up", "--listen", address, "--data-dir"]).arg(&other).output().unwrap();
    refused(&port, 3, "is in use");
    let folder = folder.path().join("one");
    let same = muster().args(["up", "--listen", "127.0.0.1:0", "--data-dir"]).arg(folder).output().unwrap();
    refused(&same, 3, "already");
}

#[test]
fn what_cannot_be_a_folder_or_a_database_is_said_in_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let up = |path: &Path| muster().args(["up", "--listen", "127.0.0.1:0", "--data-dir"]).arg(path).output().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "x").unwrap();
    refused(&up(&file), 3, "cannot be used");
    let broken = folder.path().join("broken");
    std::fs::create_dir(&broken).unwrap();
    std::fs::write(broken.join("muster.db"), "this is no database, and long enough to be seen as none").unwrap();
    refused(&up(&broken), 3, "damaged");
}

#[test]
fn listening_beyond_loopback_needs_a_token() {
    let folder = tempfile::tempdir().unwrap();
    let open = muster().args(["up", "--listen", "0.0.0.0:0", "--data-dir"]).arg(folder.path()).output().unwrap();
    refused(&open, 2, "MUSTER_API_TOKEN");
}

#[test]
fn a_wrong_address_is_said_in_one_sentence() {
    refused(&muster().args(["--url", "http://127.0.0.1:9", "servers"]).output().unwrap(), 3, "cannot be reached");
    let unknown = ["audit-task", "0198f2b4c3d27a6e8b1f0c9d5e4a3b21", "--url", "http://127.0.0.1:9"];
    refused(&muster().args(unknown).output().unwrap(), 3, "cannot be reached");
    refused(&muster().args(["--url", "nonsense", "servers"]).output().unwrap(), 2, "nonsense");
}
