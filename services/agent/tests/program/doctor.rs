//! `muster-agent doctor`: what it finds, in which words, and that it changes nothing.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::UnixDatagram;

use crate::plane::{Plane, TOKEN};
use crate::run::{BROKER, told};
use crate::{agent, ended};

/// Where the broker is unless `MUSTER_TEST_BROKER_URL` says otherwise; without a virtual host's name.
const BROKER_DEFAULT: &str = "amqp://guest:guest@127.0.0.1:5672";

/// A folder enrolled with a plane, and a policy that allows everything.
async fn enrolled(hostname: &str) -> (Plane, TempDir) {
    let (plane, folder) = (Plane::start().await, tempfile::tempdir().unwrap());
    let mut command = agent(&folder.path().join("agent"));
    command.args(["enroll", "--url", &plane.url(), "--hostname", hostname]).env("MUSTER_TOKEN", TOKEN);
    assert!(ended(&mut command).await.status.success());
    let policy = "enabled = true\nmax_timeout = 60\n[[allow]]\nusers = [\"*\"]\nany = true\n";
    fs::write(folder.path().join("policy.toml"), policy).unwrap();
    (plane, folder)
}

/// What it says of each check, by the check's name: its verdict and the sentence.
async fn examined(folder: &Path, settings: &[(&str, &str)]) -> (Value, i32) {
    let mut command = agent(&folder.join("agent"));
    command.args(["doctor", "--json"]).env("MUSTER_POLICY", folder.join("policy.toml"));
    let output = ended(command.envs([BROKER]).envs(settings.iter().copied())).await;
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["ok"] == true, output.status.success());
    (document["checks"].clone(), output.status.code().unwrap())
}

/// The check was made, came out so, and says all of these words.
fn assert_found(checks: &Value, check: &str, verdict: &str, words: &[&str]) {
    let found = checks.as_array().unwrap().iter().find(|one| one["check"] == check);
    let found = found.map_or(&Value::Null, |found| found);
    assert_eq!(found["verdict"], verdict, "{check}: {checks:#}");
    for word in words {
        assert!(found["detail"].as_str().unwrap().contains(word), "{word}: {found}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_all_is_well_it_says_so_of_each_thing() {
    let (plane, folder) = enrolled("web-1").await;
    let (url, path) = (plane.url(), folder.path());
    let (checks, status) = examined(path, &[("MUSTER_URL", &url), ("MUSTER_TOKEN", TOKEN)]).await;
    assert_found(&checks, "settings", "ok", &["web-1", "1 signing key"]);
    assert_found(&checks, "folder", "ok", &["agent"]);
    assert_found(&checks, "space", "ok", &["MiB"]);
    assert_found(&checks, "agent", "note", &["does not run"]);
    assert_found(&checks, "key", "ok", &["sha256:"]);
    assert_found(&checks, "journal", "ok", &["0 commands", "0 results"]);
    if geteuid().is_root() {
        assert_found(&checks, "policy", "ok", &["any command as every account", "60 seconds"]);
        assert_found(&checks, "accounts", "ok", &["any user"]);
    }
    assert_found(&checks, "clock", "ok", &["agrees"]);
    assert_found(&checks, "own key", "ok", &["knows"]);
    assert_found(&checks, "plane key", "ok", &["pinned"]);
    assert_found(&checks, "broker", "wrong", &["broker"]);
    assert_eq!(status, 1, "the broker is away");
    assert!(!path.join("agent/doctor.probe").exists() && !path.join("agent/agent.lock").exists(), "nothing is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_it_names_with_what_to_do() {
    let (plane, folder) = enrolled("web-1").await;
    let (url, path) = (plane.url(), folder.path());
    let own = path.join("agent");
    fs::write(own.join("journal.db"), "no database at all").unwrap();
    fs::set_permissions(own.join("agent-key.pem"), fs::Permissions::from_mode(0o644)).unwrap();
    fs::set_permissions(&own, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(path.join("policy.toml"), "enabled = false\n").unwrap();
    let pinned = plane.change_keys();
    let (checks, status) = examined(path, &[("MUSTER_URL", &url), ("MUSTER_TOKEN", TOKEN)]).await;
    assert_eq!(status, 1);
    assert_found(&checks, "folder", "wrong", &["chmod 700"]);
    assert_found(&checks, "key", "wrong", &["others may read", "chmod 600"]);
    assert_found(&checks, "journal", "wrong", &["journal.db is damaged", "move it away"]);
    assert_found(&checks, "policy", "wrong", &["every command is refused", "enabled = true"]);
    assert_found(&checks, "plane key", "wrong", &[&pinned, "--trust-new-keys"]);
    let (checks, _) = examined(path, &[("MUSTER_URL", &url), ("MUSTER_TOKEN", "a wrong one")]).await;
    assert_found(&checks, "own key", "wrong", &["no such token"]);
    let (checks, _) = examined(path, &[("MUSTER_BROKER_URL", "")]).await;
    assert_found(&checks, "settings", "wrong", &["MUSTER_BROKER_URL is not set"]);
    assert_found(&checks, "plane", "note", &["MUSTER_URL is not set"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_server_that_is_not_enrolled_it_says_how_to() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = agent(&folder.path().join("agent"));
    let output = ended(command.arg("doctor").envs([BROKER]).env("MUSTER_HOSTNAME", "web-1")).await;
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for words in ["WRONG settings", "muster-agent enroll", "WRONG folder", "note  journal"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is made");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_a_terminal_obeys_passes() {
    let (plane, folder) = enrolled("web-1").await;
    let mut command = agent(&folder.path().join("agent"));
    command.arg("doctor").envs([BROKER, ("MUSTER_URL", plane.url().as_str()), ("MUSTER_TOKEN", "a wrong one")]);
    let output = ended(&mut command).await;
    assert!(String::from_utf8_lossy(&output.stdout).contains("no such token"));
    assert!(!output.stdout.contains(&0x1b));
}

#[tokio::test(flavor = "multi_thread")]
async fn it_finds_a_running_agent_and_does_not_disturb_it() {
    let (_plane, folder) = enrolled("web-1").await;
    let socket = folder.path().join("notify");
    let manager = UnixDatagram::bind(&socket).unwrap();
    let own = folder.path().join("agent");
    let mut child = agent(&own).arg("run").envs([BROKER]).env("NOTIFY_SOCKET", &socket).spawn().unwrap();
    assert_eq!(told(&manager).await, "READY=1");
    let pid = child.id().unwrap();
    for _ in 0..3 {
        let (checks, _) = examined(folder.path(), &[]).await;
        assert_found(&checks, "agent", "ok", &[&format!("process id {pid}")]);
        assert_found(&checks, "journal", "ok", &["sound"]);
    }
    assert!(child.try_wait().unwrap().is_none(), "it still runs");
    kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGTERM).unwrap();
    assert!(child.wait().await.unwrap().success());
}

/// Over the broker that all tests use; nothing is made there.
#[tokio::test(flavor = "multi_thread")]
async fn a_login_a_refusal_and_a_missing_queue_are_told_apart() {
    let (_plane, folder) = enrolled("nobody-registered-this-one").await;
    let broker = std::env::var("MUSTER_TEST_BROKER_URL").unwrap_or_else(|_| BROKER_DEFAULT.to_owned());
    let (checks, _) = examined(folder.path(), &[("MUSTER_BROKER_URL", &format!("{broker}/%2F"))]).await;
    assert_found(&checks, "broker", "wrong", &["the login works", "there is no queue", "nobody-registered-this-one"]);
    let (_, host) = broker.rsplit_once('@').unwrap();
    let stranger = format!("amqp://nobody-of-that-name:geheim@{host}/%2F");
    let (checks, _) = examined(folder.path(), &[("MUSTER_BROKER_URL", &stranger)]).await;
    assert_found(&checks, "broker", "wrong", &["ACCESS"]);
    assert!(!checks.to_string().contains("geheim"), "{checks}");
}
