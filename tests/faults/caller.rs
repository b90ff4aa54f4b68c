//! The client: sends commands and never gives up. Each has an `Idempotency-Key`, under which it is
//! sent again whatever became of the answer, so that one wish is one task. Each command counts its
//! own runs: it appends its token and the time to a file of its server, before anything else.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::{Value, json};
use shared::audit::Run;
use shared::clock::Time;
use shared::http::client::Client;
use tokio::task::JoinHandle;

use crate::stack::TOKEN;

/// How long an answer may take before the request is sent again.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// How long a request is sent again and again.
const ACCEPTED_WITHIN: Duration = Duration::from_secs(120);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(50);

/// A command that was accepted.
#[derive(Clone, Debug)]
pub struct Posted {
    /// What it appends.
    pub token: String,
    pub task_id: String,
    /// The request.
    body: Value,
}

/// What a command does after it has counted itself.
#[derive(Clone, Copy, Debug)]
pub enum Work {
    /// It ends at once.
    Quick,
    /// It ends with a status that is no success.
    Failing,
    /// It takes so many milliseconds.
    Lasting(u64),
    /// It takes so many milliseconds, for which its agent stands still.
    Muting(u64),
}

impl Work {
    /// A mixture: most commands are quick.
    pub const fn mixed(number: usize) -> Self {
        match number % 4 {
            1 => Self::Lasting(600),
            3 => Self::Failing,
            _ => Self::Quick,
        }
    }

    fn shell(self) -> String {
        match self {
            Self::Quick => "true".to_owned(),
            Self::Failing => "exit 3".to_owned(),
            Self::Lasting(millis) => format!("sleep {}.{:03}", millis / 1_000, millis % 1_000),
            Self::Muting(millis) => format!("kill -STOP $PPID; {}; kill -CONT $PPID", Self::Lasting(millis).shell()),
        }
    }
}

/// Commands that are being sent in the background.
pub struct Sending {
    enough: Arc<AtomicBool>,
    work: JoinHandle<()>,
}

impl Sending {
    /// Waits until all are accepted.
    pub async fn done(self) {
        self.work.await.unwrap();
    }

    /// Sends no more; the one under way is still seen accepted, since it may be stored already.
    pub async fn stop(self) {
        self.enough.store(true, Ordering::Relaxed);
        self.done().await;
    }
}

/// The client of one plane.
pub struct Caller {
    http: reqwest::Client,
    base: String,
    folder: PathBuf,
    numbered: AtomicUsize,
    posted: Mutex<Vec<Posted>>,
    refused: AtomicUsize,
}

impl Caller {
    /// A client of the plane at `base`, whose commands append to files in `folder`.
    pub fn new(base: &str, folder: &Path) -> Arc<Self> {
        let http = reqwest::Client::builder().no_proxy().timeout(ANSWER_WITHIN).build().unwrap();
        let (base, folder) = (base.to_owned(), folder.to_owned());
        Arc::new(Self {
            http,
            base,
            folder,
            numbered: AtomicUsize::new(0),
            posted: Mutex::default(),
            refused: AtomicUsize::new(0),
        })
    }

    /// How often an answer did not come, or was no yes.
    pub fn refused(&self) -> usize {
        self.refused.load(Ordering::Relaxed)
    }

    /// A client that reads.
    pub fn reader(&self) -> Client {
        Client::new(&self.base, Some(TOKEN.to_owned())).unwrap()
    }

    fn list(&self) -> MutexGuard<'_, Vec<Posted>> {
        self.posted.lock().unwrap_or_else(PoisonError::into_inner) // a cell that failed leaves a sound list
    }

    /// All that was accepted so far.
    pub fn posted(&self) -> Vec<Posted> {
        self.list().clone()
    }

    /// A command to all servers, or to whom `wishes` say.
    pub async fn post(&self, work: Work, wishes: Value) -> Posted {
        let token = format!("t{}", self.numbered.fetch_add(1, Ordering::Relaxed));
        let runs = self.folder.display();
        let command =
            format!("printf '%s %s\\n' {token} $(date +%s%3N) >> {runs}/$MUSTER_HOSTNAME.runs; {}", work.shell());
        let mut body = json!({ "target_type": "all", "command": command, "timeout": 60 });
        body.as_object_mut().unwrap().extend(wishes.as_object().cloned().unwrap_or_default());
        let task_id = self.insist(&body, &token).await;
        let posted = Posted { token, task_id, body };
        self.list().push(posted.clone());
        posted
    }

    /// Sends the same again under the same key, and returns the task that is answered.
    pub async fn again(&self, posted: &Posted) -> String {
        self.insist(&posted.body, &posted.token).await
    }

    /// Posts under a key until the answer is a task, whose id this is.
    async fn insist(&self, body: &Value, key: &str) -> String {
        let start = Instant::now();
        loop {
            let request = self.http.post(format!("{}/api/commands", self.base)).bearer_auth(TOKEN);
            let said = match request.header("Idempotency-Key", key).json(body).send().await {
                // An answer may also break off in the middle.
                Ok(answer) if answer.status() == StatusCode::CREATED => match answer.json::<Value>().await {
                    Ok(task) => return task["task_id"].as_str().unwrap().to_owned(),
                    Err(error) => error.to_string(),
                },
                // A conflict: the first try is still on its way to the database.
                Ok(answer) if answer.status().is_server_error() || answer.status() == StatusCode::CONFLICT => {
                    answer.status().to_string()
                }
                Ok(answer) => panic!("refused: {} {:?}", answer.status(), answer.text().await),
                Err(error) => error.to_string(),
            };
            self.refused.fetch_add(1, Ordering::Relaxed);
            assert!(start.elapsed() < ACCEPTED_WITHIN, "no command is accepted: {said}");
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Asks for a task's cancel until the answer is clear.
    pub async fn cancel(&self, task_id: &str) {
        let start = Instant::now();
        loop {
            let request = self.http.post(format!("{}/api/tasks/{task_id}/cancel", self.base)).bearer_auth(TOKEN);
            let status = request.send().await.ok().map(|answer| answer.status());
            // A conflict: it is over.
            if matches!(status, Some(StatusCode::ACCEPTED | StatusCode::CONFLICT)) {
                return;
            }
            assert!(start.elapsed() < ACCEPTED_WITHIN, "a cancel is not accepted: {status:?}");
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Sends a mixture of so many commands in the background, one after another.
    pub fn sending(self: &Arc<Self>, count: usize) -> Sending {
        self.sending_with(count, json!({}))
    }

    /// The same with further wishes for each.
    pub fn sending_with(self: &Arc<Self>, count: usize, wishes: Value) -> Sending {
        let (caller, enough) = (Arc::clone(self), Arc::new(AtomicBool::new(false)));
        let told = Arc::clone(&enough);
        let work = tokio::spawn(async move {
            for number in 0..count {
                if told.load(Ordering::Relaxed) {
                    return;
                }
                caller.post(Work::mixed(number), wishes.clone()).await;
                tokio::time::sleep(PAUSE).await;
            }
        });
        Sending { enough, work }
    }

    /// The runs that the commands counted themselves, on these servers; and those of no known token.
    pub fn runs(&self, hosts: &[String]) -> (Vec<Run>, Vec<String>) {
        let posted = self.posted();
        let tasks: HashMap<_, _> = posted.iter().map(|one| (one.token.as_str(), one.task_id.as_str())).collect();
        let (mut runs, mut strangers) = (Vec::new(), Vec::new());
        for host in hosts {
            let text = std::fs::read_to_string(self.folder.join(format!("{host}.runs"))).unwrap_or_default();
            for line in text.lines() {
                let (token, at) = line.split_once(' ').unwrap_or((line, ""));
                match tasks.get(token) {
                    Some(task_id) => runs.push(Run {
                        task_id: (*task_id).to_owned(),
                        hostname: host.clone(),
                        at: at.parse().ok().map(Time),
                    }),
                    None => strangers.push(format!("{host}: {line}")),
                }
            }
        }
        (runs, strangers)
    }
}
