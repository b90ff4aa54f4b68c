//! `muster-agent run`: what it needs to start, and how it ends.

use std::fs;
use std::path::Path;
use std::process::Output;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::net::UnixDatagram;
use tokio::time::timeout;

use crate::plane::{Plane, TOKEN};
use crate::{PATIENCE, agent, assert_refused, ended};

/// A broker that is away.
pub const BROKER: (&str, &str) = ("MUSTER_BROKER_URL", "amqp://guest:geheim@127.0.0.1:9/%2F");

/// Runs it with a broker's address and these settings, to its end.
async fn run(folder: &Path, settings: &[(&str, &str)]) -> Output {
    ended(agent(folder).arg("run").envs([BROKER]).envs(settings.iter().copied())).await
}

/// A folder enrolled as `web-1`.
async fn enrolled() -> tempfile::TempDir {
    let (plane, folder) = (Plane::start().await, tempfile::tempdir().unwrap());
    let mut command = agent(folder.path());
    command.args(["enroll", "--url", &plane.url(), "--hostname", "web-1"]).env("MUSTER_TOKEN", TOKEN);
    assert!(ended(&mut command).await.status.success());
    folder
}

#[tokio::test(flavor = "multi_thread")]
async fn without_enrolment_it_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    assert_refused(&run(folder.path(), &[]).await, 2, &["not enrolled", "muster-agent enroll"]);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nor does it make itself a key");
    let folder = enrolled().await;
    fs::remove_file(folder.path().join("agent-key.pem")).unwrap();
    assert_refused(&run(folder.path(), &[]).await, 2, &["not enrolled"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_settings_stop_it_with_their_name() {
    let folder = enrolled().await;
    let path = folder.path();
    assert_refused(&run(path, &[("MUSTER_BROKER_URL", "")]).await, 2, &["MUSTER_BROKER_URL is not set"]);
    assert_refused(&run(path, &[("MUSTER_HOSTNAME", "web-2")]).await, 2, &["enrolled as `web-1`", "MUSTER_HOSTNAME"]);
    assert_refused(&run(path, &[("MUSTER_CONFIG", "/nowhere")]).await, 2, &["MUSTER_CONFIG"]);
    fs::write(path.join("plane-keys.json"), "[]").unwrap();
    assert_refused(&run(path, &[]).await, 2, &["plane-keys.json"]);
}

/// What the agent tells its service manager next.
pub async fn told(manager: &UnixDatagram) -> String {
    let mut buffer = [0; 64];
    let length = timeout(PATIENCE, manager.recv(&mut buffer)).await.unwrap().unwrap();
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_ready_without_its_broker_and_ends_when_it_is_told() {
    let folder = enrolled().await;
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let socket = folder.path().join(format!("notify-{signal}"));
        let manager = UnixDatagram::bind(&socket).unwrap();
        let mut child = agent(folder.path()).arg("run").envs([BROKER]).env("NOTIFY_SOCKET", &socket).spawn().unwrap();
        assert_eq!(told(&manager).await, "READY=1");
        let pid = Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap());
        let other = run(folder.path(), &[]).await;
        assert!(String::from_utf8_lossy(&other.stderr).contains("already"), "one agent a folder");
        assert_eq!(other.status.code(), Some(1));
        kill(pid, signal).unwrap();
        assert_eq!(told(&manager).await, "STOPPING=1");
        assert!(timeout(PATIENCE, child.wait()).await.unwrap().unwrap().success());
    }
}
