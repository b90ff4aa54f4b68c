//! A database server and a broker of the suite's own, from the programs that this machine has, for
//! the cells that kill servers: the machine's own are shared with others. They let in over TLS
//! alone.

use std::fs::File;
use std::net::TcpStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::certificates::Certificates;
use crate::mysql::{self, Database};
use crate::process::free_port;
use crate::rig::{LOOK, PATIENCE};
use crate::vhost::Vhost;

/// What Debian's packages install.
const MARIADBD: &str = "/usr/sbin/mariadbd";
const MARIADB_INSTALL: &str = "/usr/bin/mariadb-install-db";
const RABBITMQ: &str = "/usr/lib/rabbitmq/bin";
/// An account without the rights of an administrator, who may write to a server that is read-only and
/// come in when no connection is left.
const USER: &str = "muster";

/// Whether this machine has the programs; else what is missing.
pub fn missing() -> Option<&'static str> {
    [MARIADBD, MARIADB_INSTALL, "/usr/lib/rabbitmq/bin/rabbitmq-server", "/usr/bin/openssl"]
        .into_iter()
        .find(|program| !Path::new(program).exists())
}

/// Both servers, in a folder of their own.
pub struct Servers {
    pub mariadb: Server,
    pub rabbitmq: Server,
    certificates: Certificates,
    folder: TempDir,
}

impl Servers {
    /// Starts both, empty.
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let certificates = Certificates::make(&folder.path().join("certificates"));
        let servers = Self {
            mariadb: Server::start(mariadb(folder.path(), &certificates)),
            rabbitmq: Server::start(rabbitmq(folder.path(), &certificates)),
            certificates,
            folder,
        };
        servers.mariadb.until_up().await;
        servers.rabbitmq.until_up().await;
        let root = servers.root();
        for statement in [
            "create user muster@'%' identified by 'muster' require ssl",
            "grant all on `muster_test_%`.* to muster@'%'",
        ] {
            mysql::run(&root, statement).await.unwrap();
        }
        servers.until_steered().await;
        servers
    }

    /// The database server's administrator.
    pub fn root(&self) -> String {
        format!("mysql://root@127.0.0.1:{}", self.mariadb.launch.port)
    }

    /// The same database for somebody who is no administrator.
    pub fn as_user(&self, url: &str) -> String {
        url.replace("root@", &format!("{USER}:{USER}@"))
    }

    /// The CA that both servers' certificates come from.
    pub fn ca(&self) -> PathBuf {
        self.certificates.ca.clone()
    }

    /// A CA that nothing of theirs comes from.
    pub fn strange_ca(&self) -> PathBuf {
        Certificates::make(&self.folder.path().join(format!("strange-{}", shared::id::random()))).ca
    }

    /// A database on it.
    pub async fn database(&self) -> Database {
        Database::at(&self.root()).await
    }

    /// A virtual host on the broker.
    pub fn vhost(&self) -> Vhost {
        Vhost::at(format!("amqps://guest:guest@127.0.0.1:{}", self.rabbitmq.launch.port), self.steered_by())
    }

    fn steered_by(&self) -> String {
        let Launch { env, node, .. } = &self.rabbitmq.launch;
        let env: Vec<_> = env.iter().map(|(name, value)| format!("{name}={value}")).collect();
        format!("env {} {RABBITMQ}/rabbitmqctl -n {node}", env.join(" "))
    }

    /// Waits until the broker takes orders, which is later than that it listens.
    pub async fn until_steered(&self) {
        let start = Instant::now();
        let steered_by = self.steered_by();
        let mut words = steered_by.split_whitespace();
        let mut await_startup = Command::new(words.next().unwrap());
        await_startup.args(words).args(["--quiet", "await_startup"]).stdout(Stdio::null()).stderr(Stdio::null());
        while !await_startup.status().unwrap().success() {
            assert!(start.elapsed() < PATIENCE, "the broker takes no orders: {}", self.rabbitmq.launch.said());
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// How a server is started.
struct Launch {
    program: String,
    arguments: Vec<String>,
    env: Vec<(&'static str, String)>,
    port: u16,
    /// The broker's name among brokers.
    node: String,
    log: PathBuf,
}

impl Launch {
    fn start(&self) -> Child {
        let log = File::options().create(true).append(true).open(&self.log).unwrap();
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.envs(self.env.iter().map(|(name, value)| (*name, value)));
        // A group of its own: the broker's program is a script with the broker as its child.
        command.process_group(0).spawn().unwrap()
    }

    fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

/// A server at work; killed when it is dropped.
pub struct Server {
    child: Child,
    launch: Launch,
}

impl Server {
    fn start(launch: Launch) -> Self {
        Self { child: launch.start(), launch }
    }

    /// Sends a signal to all of its processes.
    pub fn signal(&self, signal: Signal) {
        killpg(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        self.child.wait().unwrap();
    }

    /// Starts it again on what it had.
    pub async fn restart(&mut self) {
        self.child = self.launch.start();
        self.until_up().await;
    }

    async fn until_up(&self) {
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.launch.port)).is_err() {
            assert!(start.elapsed() < PATIENCE, "a server does not start: {}", self.launch.said());
            tokio::time::sleep(LOOK).await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A cell that failed may have killed it already.
        let _ = killpg(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

fn mariadb(folder: &Path, certificates: &Certificates) -> Launch {
    let data = folder.join("mariadb");
    let at = format!("--datadir={}", data.display());
    // As root it refuses to run unless that is said; as anybody else this is its own name.
    let user = format!("--user={}", nix::unistd::User::from_uid(nix::unistd::Uid::current()).unwrap().unwrap().name);
    let mut install = Command::new(MARIADB_INSTALL);
    install.args(["--no-defaults", &at, &user, "--auth-root-authentication-method=normal", "--skip-test-db"]);
    let installed = install.output().unwrap();
    assert!(installed.status.success(), "{}", String::from_utf8_lossy(&installed.stderr));
    let port = free_port();
    let arguments = [
        "--no-defaults".to_owned(),
        at,
        user,
        format!("--socket={}", data.join("socket").display()),
        format!("--port={port}"),
        "--bind-address=127.0.0.1".to_owned(),
        "--innodb-buffer-pool-size=64M".to_owned(),
        format!("--ssl-cert={}", certificates.certificate.display()),
        format!("--ssl-key={}", certificates.key.display()),
    ];
    let log = folder.join("mariadb.log");
    let program = MARIADBD.to_owned();
    Launch { program, arguments: arguments.to_vec(), env: Vec::new(), port, node: String::new(), log }
}

fn rabbitmq(folder: &Path, certificates: &Certificates) -> Launch {
    let home = folder.join("rabbitmq");
    std::fs::create_dir(&home).unwrap();
    std::fs::write(home.join("env"), "").unwrap(); // or the machine's own would be read
    std::fs::write(home.join("plugins"), "[].").unwrap();
    let (port, node) = (free_port(), format!("faults-{}@localhost", shared::id::random()));
    let lines = [
        "listeners.tcp = none".to_owned(),
        format!("listeners.ssl.1 = 127.0.0.1:{port}"),
        format!("ssl_options.certfile = {}", certificates.certificate.display()),
        format!("ssl_options.keyfile = {}", certificates.key.display()),
        "ssl_options.verify = verify_none".to_owned(), // of the clients
    ];
    std::fs::write(home.join("server.conf"), lines.join("\n")).unwrap();
    let inside = |name: &str| home.join(name).display().to_string();
    let env = vec![
        ("HOME", home.display().to_string()), // where the cookie is, by which its steering is let in
        ("ERL_EPMD_ADDRESS", "127.0.0.1".to_owned()),
        ("RABBITMQ_CONF_ENV_FILE", inside("env")),
        ("RABBITMQ_CONFIG_FILE", inside("server.conf")),
        ("RABBITMQ_ENABLED_PLUGINS_FILE", inside("plugins")),
        ("RABBITMQ_NODENAME", node.clone()),
        ("RABBITMQ_DIST_PORT", free_port().to_string()),
        ("RABBITMQ_MNESIA_BASE", inside("mnesia")),
        ("RABBITMQ_LOG_BASE", inside("log")),
        ("RABBITMQ_PID_FILE", inside("pid")),
    ];
    let program = format!("{RABBITMQ}/rabbitmq-server");
    Launch { program, arguments: Vec::new(), env, port, node, log: folder.join("rabbitmq.log") }
}
