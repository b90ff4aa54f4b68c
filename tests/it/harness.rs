//! A plane of one's own: a fresh folder, a free port, real agents. Tests wait on conditions, with a
//! limit; nothing here sleeps and hopes.

use std::net::SocketAddr;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use reqwest::header::{AUTHORIZATION, HeaderMap};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use shared::config::{self, Keep};
use shared::http::client::Client;
use solo::{Plane, Settings};
use tempfile::TempDir;

use crate::answer::Answer;

/// How long a condition may take to come true on a loaded machine. A relay that is killed leaves leases
/// that run out after half a minute.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// The door of a plane: its API, over real HTTP.
pub struct Door {
    base: String,
    pub http: reqwest::Client,
}

/// An embedded plane with its folder.
pub struct World {
    pub plane: Plane,
    pub folder: Folder,
    door: Door,
}

impl Deref for World {
    type Target = Door;

    fn deref(&self) -> &Door {
        &self.door
    }
}

/// What outlives a plane: its folder and its settings.
pub struct Folder {
    _dir: TempDir,
    pub settings: Settings,
}

impl Folder {
    pub fn new(agents: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let plane = config::Settings {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            data_dir: dir.path().join("data"),
            api_token: None,
        };
        let agents = agents.iter().map(|name| (*name).to_owned()).collect();
        Self { _dir: dir, settings: Settings { plane, agents, policy: None, keep: Keep::default() } }
    }

    pub fn path(&self) -> &Path {
        self._dir.path()
    }

    pub async fn start(self) -> World {
        let plane = Plane::start(self.settings.clone()).await.unwrap();
        let door = Door::new(&format!("http://{}", plane.address()), None);
        World { plane, folder: self, door }
    }
}

/// A plane with agents of these names, started.
pub async fn world(agents: &[&str]) -> World {
    Folder::new(agents).start().await
}

impl World {
    pub fn client(&self) -> Client {
        Client::new(&self.url(""), self.folder.settings.plane.api_token.clone()).unwrap()
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Stops the plane; its folder stays.
    pub async fn stop(self) -> Folder {
        self.plane.stop().await;
        self.folder
    }
}

impl Door {
    /// The plane at `base`, asked with a token if there is one.
    pub fn new(base: &str, token: Option<&str>) -> Self {
        let mut headers = HeaderMap::new();
        if let Some(token) = token {
            headers.insert(AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
        }
        let http = reqwest::Client::builder().no_proxy().default_headers(headers).build().unwrap();
        Self { base: base.to_owned(), http }
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// A request to the API, to be filled in.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, self.url(path))
    }

    /// Calls the API and returns all of the answer.
    pub async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Answer {
        let request = self.request(method, path);
        Answer::to(if let Some(body) = body { request.json(body) } else { request }).await
    }

    /// Calls the API and returns status and body.
    pub async fn call(&self, method: Method, path: &str, body: Option<Value>) -> (StatusCode, Value) {
        let request = self.http.request(method, self.url(path));
        let request = match body {
            Some(body) => request.json(&body),
            None => request,
        };
        let response = request.send().await.unwrap();
        let status = response.status();
        let text = response.text().await.unwrap();
        (status, if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap() })
    }

    pub async fn get(&self, path: &str) -> Value {
        let (status, body) = self.call(Method::GET, path, None).await;
        assert_eq!(status, StatusCode::OK, "{path}: {body}");
        body
    }

    /// Sends a command and returns its task.
    pub async fn send(&self, command: Value) -> Value {
        let (status, task) = self.call(Method::POST, "/api/commands", Some(command)).await;
        assert_eq!(status, StatusCode::CREATED, "{task}");
        task
    }

    /// Sends a command to all.
    pub async fn send_all(&self, command: &str) -> Value {
        self.send(json!({ "target_type": "all", "target": null, "command": command })).await
    }

    /// Waits until the task is final and returns its results.
    pub async fn results(&self, task: &Value) -> Vec<Value> {
        let id = id(task);
        self.until(&format!("/api/tasks/{id}"), |task| task["final"] == true).await;
        self.get(&format!("/api/tasks/{id}/results")).await.as_array().unwrap().clone()
    }

    /// Reads `path` until `holds`.
    pub async fn until(&self, path: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let start = Instant::now();
        loop {
            let body = self.get(path).await;
            if holds(&body) {
                return body;
            }
            assert!(start.elapsed() < PATIENCE, "{path} stays {body}");
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// Waits until a file satisfies `holds`.
pub async fn until_file(path: &Path, holds: impl Fn(&str) -> bool) -> String {
    let start = Instant::now();
    loop {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        if holds(&text) {
            return text;
        }
        assert!(start.elapsed() < PATIENCE, "{} stays {text:?}", path.display());
        tokio::time::sleep(LOOK).await;
    }
}

pub fn id(task: &Value) -> &str {
    task["task_id"].as_str().unwrap()
}
