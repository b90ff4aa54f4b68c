//! One seed's world: a plane, its servers, a client, and what a witness saw.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use shared::audit::{Record, Source, Violation, Witness, check};
use shared::bus::Bus;
use shared::clock::{Clock, Time};
use shared::db::lite::disk::Halt;
use tempfile::TempDir;

use crate::coverage::Coverage;
use crate::host::{Host, Runs};
use crate::plane::Plane;
use crate::random::Random;
use crate::template::{HOSTS, START, folder};

/// A command that the client asked for.
pub struct Asked {
    /// What it is called, in the history.
    pub number: usize,
    /// Under which key, if any.
    pub key: Option<String>,
    /// What was posted.
    pub body: Value,
    /// The task, once a 2xx named it.
    pub task_id: Option<String>,
}

/// One seed's world.
pub struct World {
    pub random: Random,
    pub plane: Plane,
    pub hosts: Vec<Host>,
    pub asked: Vec<Asked>,
    pub witness: Witness,
    pub runs: Runs,
    /// A server that never comes back, once it is down.
    pub gone: Option<usize>,
    /// Whether it has gone.
    pub is_gone: bool,
    /// The latest time that the plane's clock ever showed.
    pub latest: Time,
    pub coverage: Coverage,
    pub history: Vec<String>,
    pub violations: Vec<Violation>,
    _folder: TempDir,
}

impl World {
    /// The world as it is installed.
    pub fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let folder = folder();
        let halt = Halt::default();
        let plane = Plane::start(folder.path(), &halt, Clock::manual(START));
        let runs = Runs::default();
        let host = |at| {
            let bus = Bus::Unreliable(plane.bus.clone());
            Host::new(at, folder.path(), &halt, Clock::manual(START), bus, Arc::clone(&runs))
        };
        let mut hosts: Vec<_> = HOSTS.into_iter().enumerate().map(host).collect();
        hosts.iter_mut().for_each(|host| host.start(&plane.machine.disk));
        let gone = random.once_in(8).then(|| random.below(hosts.len()));
        Self {
            random,
            plane,
            hosts,
            asked: Vec::new(),
            witness: Witness::default(),
            runs,
            gone,
            is_gone: false,
            latest: START,
            coverage: Coverage::default(),
            history: Vec::new(),
            violations: Vec::new(),
            _folder: folder,
        }
    }

    /// Writes a line of history.
    pub fn note(&mut self, what: impl Into<String>) {
        self.history.push(what.into());
    }

    /// Lets time pass, for everybody alike.
    pub fn advance(&mut self, by: Duration) {
        self.plane.clock.advance(by);
        self.latest = self.latest.max(self.plane.clock.now());
        for host in &mut self.hosts {
            host.clock.advance(by);
            host.wake(&self.plane.machine.disk);
        }
    }

    /// Asks for a command, or once more for one whose answer never came. Returns the status.
    pub fn ask(&mut self, place: usize) -> Option<u16> {
        let asked = &self.asked[place];
        let (status, answer) = self.plane.call("POST", "/api/commands", asked.key.as_deref(), &asked.body)?;
        if status == 201 {
            let task_id = answer["task_id"].as_str().unwrap().to_owned();
            let known = self.asked[place].task_id.replace(task_id.clone());
            if known.is_some_and(|known| known != task_id) {
                let what = "asked again with the same key, it became another task".to_owned();
                let invariant = shared::audit::Invariant::I1;
                self.violations.push(Violation { invariant, task_id: Some(task_id), hostname: None, what });
            }
        }
        Some(status)
    }

    /// What the witness saw, the runs included.
    pub fn seen(&self) -> Witness {
        let runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Witness { runs, ..self.witness.clone() }
    }

    /// Looks at a task: notes its states, and checks it as far as it has come.
    pub fn look(&mut self, task_id: &str, now: Time) {
        let routes = self.plane.routes.clone();
        let read = self.plane.drive(async { Record::collect(Source::Routes(&routes), task_id).await });
        match read.unwrap() {
            Ok(record) => {
                self.violations.extend(check(&record, Some(&self.seen()), now));
                for invocation in &record.invocations {
                    self.witness.saw(task_id, &invocation.hostname, invocation.status);
                }
            }
            Err(error) if error.kind() == shared::error::Kind::NotFound => {
                self.violations.push(shared::audit::missing(task_id));
            }
            Err(error) => panic!("a task cannot be read: {}", shared::error::chain(&error)),
        }
    }

    /// Registers a server, or takes it from the roll.
    pub fn register(&mut self, place: usize, wanted: bool) -> Option<u16> {
        let name = self.hosts[place].name;
        let answer = if wanted {
            self.plane.call("POST", "/api/servers", None, &json!({ "hostname": name, "group": "web" }))
        } else {
            self.plane.call("DELETE", &format!("/api/servers/{name}"), None, &Value::Null)
        };
        answer.map(|(status, _)| status)
    }
}
