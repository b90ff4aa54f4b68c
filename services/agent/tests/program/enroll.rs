//! `muster-agent enroll`: any number of times, with whom it may believe, and what it leaves behind.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Output;

use shared::contract::key::PlaneKey;
use shared::sign::PublicKey;

use crate::plane::{Plane, TOKEN};
use crate::{agent, assert_refused, ended};

/// Enrols `web-1` with the plane.
async fn enroll(plane: &Plane, folder: &Path, more: &[&str]) -> Output {
    let url = plane.url();
    let mut command = agent(folder);
    command.args(["enroll", "--url", &url, "--hostname", "web-1"]).args(more);
    ended(command.env("MUSTER_TOKEN", TOKEN)).await
}

fn pinned(folder: &Path) -> Vec<String> {
    let text = fs::read_to_string(folder.join("plane-keys.json")).unwrap();
    let keys: Vec<PlaneKey> = serde_json::from_str(&text).unwrap();
    keys.into_iter().map(|key| key.keyid).collect()
}

fn said(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn enrolled_twice_it_has_one_key_and_is_registered_once() {
    let (plane, folder) = (Plane::start().await, tempfile::tempdir().unwrap());
    let folder = folder.path().join("agent"); // which it makes
    let first = said(&enroll(&plane, &folder, &["--group", "web", "--ip", "192.0.2.1"]).await);
    let second = said(&enroll(&plane, &folder, &["--group", "db"]).await);
    let uploads = plane.uploads();
    assert_eq!(uploads.len(), 2);
    assert_eq!(uploads[0], uploads[1], "the same key both times");
    let server = serde_json::json!({ "hostname": "web-1", "group": "web", "ip": "192.0.2.1" });
    assert_eq!(plane.servers(), [server]);
    let keyid = PublicKey::from_pem(&uploads[0].1).unwrap().keyid().to_owned();
    for text in [&first, &second] {
        assert!(text.contains(&keyid) && text.contains(&plane.keyid()), "people compare these: {text}");
    }
    assert!(first.contains("web-1 is registered\n") && second.contains("was registered already"), "{first}{second}");
    assert_eq!(pinned(&folder), [plane.keyid()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_leaves_is_for_its_owner_alone() {
    let (plane, folder) = (Plane::start().await, tempfile::tempdir().unwrap());
    let folder = folder.path().join("agent");
    said(&enroll(&plane, &folder, &[]).await);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    for name in ["agent-key.pem", "plane-keys.json", "hostname"] {
        assert_eq!(mode(&folder.join(name)), 0o600, "{name}");
    }
    let journal = folder.join("journal.db");
    assert!(journal.exists(), "made with the key, lest the first start takes it for lost");
    assert_eq!(mode(&journal), 0o600);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_changed_are_believed_only_when_somebody_says_so() {
    let (plane, folder) = (Plane::start().await, tempfile::tempdir().unwrap());
    said(&enroll(&plane, folder.path(), &[]).await);
    let (old, uploads) = (plane.keyid(), plane.uploads().len());
    let new = plane.change_keys();
    let refused = enroll(&plane, folder.path(), &[]).await;
    assert_refused(&refused, 2, &[&new, "--trust-new-keys"]);
    assert_eq!(pinned(folder.path()), [old]);
    assert_eq!(plane.uploads().len(), uploads, "nothing is uploaded to whom it does not believe");
    said(&enroll(&plane, folder.path(), &["--trust-new-keys"]).await);
    assert_eq!(pinned(folder.path()), [new]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_token_is_refused_and_another_try_may_succeed() {
    let (plane, folder) = (Plane::start().await, tempfile::tempdir().unwrap());
    let file = folder.path().join("token");
    let url = plane.url();
    for (token, status) in [("a wrong one", 2), (TOKEN, 0)] {
        fs::write(&file, format!("{token}\n")).unwrap();
        let mut command = agent(folder.path());
        command.args(["enroll", "--url", &url, "--hostname", "web-1", "--token-file"]).arg(&file);
        let output = ended(&mut command).await;
        if status == 2 {
            assert_refused(&output, 2, &["no such token", "MUSTER_TOKEN"]);
            assert!(!output.stderr.contains(&0x1b), "nothing that a terminal obeys");
            assert!(!folder.path().join("plane-keys.json").exists());
        }
        assert_eq!(output.status.code(), Some(status));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_come_from_the_file_too() {
    let (plane, folder) = (Plane::start().await, tempfile::tempdir().unwrap());
    let config = folder.path().join("agent.toml");
    let dir = folder.path().join("kept");
    let text = format!(
        "MUSTER_URL = \"{}\"\nMUSTER_TOKEN = \"{TOKEN}\"\nMUSTER_HOSTNAME = \"db-1\"\nMUSTER_AGENT_DIR = {dir:?}\n",
        plane.url()
    );
    fs::write(&config, text).unwrap();
    let mut command = agent(folder.path());
    command.arg("enroll").env_remove("MUSTER_AGENT_DIR").env("MUSTER_CONFIG", &config);
    said(&ended(&mut command).await);
    assert_eq!(plane.uploads()[0].0, "db-1");
    assert_eq!(pinned(&dir), [plane.keyid()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_away_or_missing_is_said_in_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let enroll = |args: &'static [&str]| {
        let mut command = agent(folder.path());
        command.args(["enroll", "--hostname", "web-1"]).args(args);
        async move { ended(&mut command).await }
    };
    assert_refused(&enroll(&["--url", "http://127.0.0.1:9"]).await, 1, &["cannot be reached"]);
    assert_refused(&enroll(&[]).await, 2, &["MUSTER_URL is not set"]);
    assert_refused(&enroll(&["--url", "nonsense"]).await, 2, &["nonsense"]);
    assert_refused(&enroll(&["--url", "https://h", "--ca-file", "/nowhere"]).await, 2, &["/nowhere"]);
}
