//! The real programs, as processes.

use std::fs::File;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::net::TcpSocket;

use crate::harness::PATIENCE;

/// How often a process is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// Where a program is, once it is built. Tests of one package know nothing of the programs of others,
/// so cargo is asked; when everything is built already, that takes a moment.
pub fn program(name: &str) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let test = std::env::current_exe().unwrap();
        let folder = test.parent().and_then(Path::parent).unwrap(); // target/<profile>/deps/<test>
        let mut build = Command::new(env!("CARGO"));
        build
            .args(["build", "--workspace", "--bins", "--locked", "--quiet", "--target-dir"])
            .arg(folder.parent().unwrap());
        if folder.ends_with("release") {
            build.arg("--release");
        }
        assert!(build.current_dir(env!("CARGO_MANIFEST_DIR")).status().unwrap().success(), "the programs are built");
        folder.to_owned()
    });
    folder.join(name)
}

/// A port of loopback that stays free for the program that is told to listen there, also while that
/// program is dead. A port that is let go may be given to the next who asks, or to a connection on its
/// way out; so it is held until the test program ends, by a socket that is bound and never listens:
/// with `SO_REUSEADDR`, which every server here sets, another socket may listen beside it, but the
/// kernel gives it to nobody who lets the kernel choose.
pub fn free_port() -> u16 {
    static HELD: Mutex<Vec<TcpSocket>> = Mutex::new(Vec::new());
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let port = socket.local_addr().unwrap().port();
    HELD.lock().unwrap().push(socket);
    port
}

/// How a program is started.
#[derive(Clone)]
pub struct Launch {
    pub name: &'static str,
    pub arguments: Vec<String>,
    pub env: Vec<(&'static str, String)>,
    /// What it writes goes here.
    pub log: PathBuf,
}

impl Launch {
    pub fn start(&self) -> Process {
        let log = File::options().create(true).append(true).open(&self.log).unwrap();
        let mut command = Command::new(program(self.name));
        command.args(&self.arguments).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        // Nothing of the surroundings but what a program needs to be found and to find others.
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.envs(self.env.iter().map(|(name, value)| (*name, value)));
        Process { child: command.spawn().unwrap(), launch: self.clone() }
    }

    /// Runs it to its end.
    pub fn run(&self) -> ExitStatus {
        self.run_within(PATIENCE)
    }

    /// The same of what takes long.
    pub fn run_within(&self, longest: Duration) -> ExitStatus {
        self.start().ended_within(longest)
    }

    pub fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

/// A program at work; killed when it is dropped.
pub struct Process {
    child: Child,
    pub launch: Launch,
}

impl Process {
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.id().cast_signed()), signal).unwrap();
    }

    /// `kill -9`, and nothing is left.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to stop, and waits until it has.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.ended()
    }

    /// Starts it again, on the same settings.
    pub fn restart(&mut self) {
        self.child = self.launch.start().into_child();
    }

    fn into_child(mut self) -> Child {
        let nobody = Command::new("true").spawn().unwrap();
        std::mem::replace(&mut self.child, nobody)
    }

    /// Waits for its end.
    pub fn ended(&mut self) -> ExitStatus {
        self.ended_within(PATIENCE)
    }

    /// How it ended, if it has.
    pub fn status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    fn ended_within(&mut self, longest: Duration) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.status() {
                return status;
            }
            assert!(start.elapsed() < longest, "{} does not end: {}", self.launch.name, self.launch.said());
            std::thread::sleep(LOOK);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
