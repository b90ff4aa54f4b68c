//! A host with an agent, and the plane that it answers to.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use agent::exec::{Exec, Job, Script, Scripted};
use agent::{Agent, Settings};
use shared::bus::{Bus, Delivery, LocalBus, Verdict, topology};
use shared::clock::{Clock, Time};
use shared::contract::key::{Algorithm, PlaneKey};
use shared::contract::signed::{Cancel, Command, Heartbeat, Kind, PLANE, ResultReport, Targets};
use shared::db::{Db, Lite};
use shared::sign::{Envelope, KeyState, Report, Sealed, SigningKey, Tree, TrustedKey, digest};
use tempfile::TempDir;

/// When each test begins.
pub const START: Time = Time(1_700_000_000_000);
/// How long a condition may take to come true.
const PATIENCE: Duration = Duration::from_secs(30);
/// Commands are valid for so long.
pub const VALID: Duration = Duration::from_secs(3_600);
const NAME: &str = "web-1";

/// The plane's key and the agent's.
fn keys() -> &'static [SigningKey; 2] {
    static KEYS: OnceLock<[SigningKey; 2]> = OnceLock::new();
    KEYS.get_or_init(|| [(), ()].map(|()| SigningKey::generate_small().unwrap()))
}

/// A host. What its agent reports is in the bus.
pub struct Host {
    pub agent: Agent,
    pub folder: PathBuf,
    pub exec: Scripted,
    pub clock: Clock,
    bus: Bus,
    _bus_folder: TempDir,
    own_folder: Option<TempDir>,
    /// Results that came: the same one may come twice.
    seen: Mutex<HashSet<String>>,
}

impl Host {
    /// One whose commands do what the script says.
    pub async fn new(script: impl Fn(&Job) -> Script + Send + Sync + 'static) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let host = Self::at(folder.path(), script).await;
        Self { own_folder: Some(folder), ..host }
    }

    /// The same, which keeps its things in `folder`.
    pub async fn at(folder: &Path, script: impl Fn(&Job) -> Script + Send + Sync + 'static) -> Self {
        let bus_folder = tempfile::tempdir().unwrap();
        let lite = Lite::open(&bus_folder.path().join("bus.db")).await.unwrap();
        Db::Lite(lite.clone()).migrate().await.unwrap();
        let clock = Clock::manual(START);
        let bus = Bus::Local(LocalBus::open(lite, clock.clone()).await.unwrap());
        let exec = Scripted::new(script);
        std::fs::write(folder.join("agent-key.pem"), keys()[1].to_pem().unwrap()).unwrap();
        let agent = open(folder, &bus, &clock, &exec, true).await;
        let folder = folder.to_owned();
        Self { agent, folder, exec, clock, bus, _bus_folder: bus_folder, own_folder: None, seen: Mutex::default() }
    }

    /// Ends the agent and starts it anew on the same folder, once `meanwhile` was done to that.
    pub async fn restarted(self, meanwhile: impl FnOnce(&Path)) -> Self {
        let Self { agent, folder, exec, clock, bus, _bus_folder, own_folder, seen } = self;
        agent.finish(Duration::ZERO).await;
        drop(agent);
        meanwhile(&folder);
        let agent = open(&folder, &bus, &clock, &exec, false).await;
        Self { agent, folder, exec, clock, bus, _bus_folder, own_folder, seen }
    }

    /// Hands messages over as the broker would, and lets start what may.
    pub async fn take(&self, messages: &[Vec<u8>]) -> Vec<Verdict> {
        let delivery = |(tag, body): (usize, &Vec<u8>)| Delivery {
            tag: tag as u64,
            body: body.clone(),
            traceparent: None,
            redelivered: false,
            reason: None,
            given_up_in: None,
        };
        let deliveries = messages.iter().enumerate().map(delivery).collect();
        let consumer = self.agent.service().consumers.remove(0);
        let verdicts = consumer.judge(deliveries).await;
        consumer.handler.drained();
        verdicts
    }

    /// Does one of the agent's chores.
    pub async fn chore(&self, name: &str) {
        let chore = self.agent.service().chores.into_iter().find(|chore| chore.name == name).unwrap();
        let waited = async {
            loop {
                tokio::time::sleep(Duration::from_millis(1)).await;
                self.time_passes();
            }
        };
        tokio::select! {
            done = (chore.work)() => drop(done.unwrap()),
            () = waited => {}
        }
    }

    /// Time passes for whoever waits, and the clock shows what it showed before.
    fn time_passes(&self) {
        let shown = self.clock.now();
        self.clock.advance(Duration::from_secs(10));
        self.clock.set(shown);
    }

    /// The results that reached the plane since it was last asked, once there are `number` of them.
    pub async fn results(&self, number: usize) -> Vec<ResultReport> {
        let (start, mut found) = (Instant::now(), Vec::new());
        loop {
            self.chore("spool").await;
            for report in self.reports(topology::RESULTS).await {
                if let Report::Result(result) = report
                    && self.seen.lock().unwrap().insert(serde_json::to_string(result.body()).unwrap())
                {
                    found.push(result.body().clone());
                }
            }
            if found.len() >= number {
                assert_eq!(found.len(), number, "{found:?}");
                return found;
            }
            assert!(start.elapsed() < PATIENCE, "{number} results do not come: {found:?}");
            self.time_passes();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The one result that reached the plane.
    pub async fn result(&self) -> ResultReport {
        self.results(1).await.remove(0)
    }

    /// A heartbeat, as the plane gets it.
    pub async fn heartbeat(&self) -> Heartbeat {
        self.chore("heartbeat").await;
        let Some(Report::Heartbeat(beat)) = self.reports(topology::HEARTBEATS).await.pop() else {
            panic!("there is no heartbeat")
        };
        beat.body().clone()
    }

    async fn reports(&self, queue: &str) -> Vec<Report> {
        let mut hold = self.bus.subscribe(queue).await.unwrap();
        let taken = hold.take(1_000).await.unwrap();
        hold.settle(taken.iter().map(|delivery| (delivery.tag, Verdict::Done)).collect()).await.unwrap();
        let (key, algorithm) = (keys()[1].public().clone(), Algorithm::PS256);
        let trusted = TrustedKey { owner: NAME.into(), key, algorithm, state: KeyState::Active };
        let open = |delivery: &Delivery| {
            let sealed = Sealed::parse(&delivery.body, &[Kind::Result, Kind::Event, Kind::Heartbeat]).unwrap();
            sealed.open_report(Some(&trusted), START).unwrap()
        };
        taken.iter().map(open).collect()
    }

    /// The tasks that were started, in order.
    pub fn started(&self) -> Vec<String> {
        self.exec.log().into_iter().map(|job| job.task_id).collect()
    }

    /// Waits until so many commands were started.
    pub async fn until_started(&self, number: usize) {
        let start = Instant::now();
        while self.started().len() < number {
            assert!(start.elapsed() < PATIENCE, "only {:?} were started", self.started());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Puts the clock to `at`.
    pub fn set_clock(&self, at: Time) {
        self.clock.set(at);
    }

    /// How many commands the journal remembers.
    pub async fn remembered(&self) -> i64 {
        let mut journal = Lite::look(&self.folder.join("journal.db")).await.unwrap();
        let (rows,): (i64,) = sqlx::query_as("select count(*) from jobs").fetch_one(&mut journal).await.unwrap();
        rows
    }
}

async fn open(folder: &Path, bus: &Bus, clock: &Clock, exec: &Scripted, key_is_new: bool) -> Agent {
    let plane = &keys()[0];
    let public_key_pem = plane.public().to_pem().unwrap();
    let pinned = PlaneKey { keyid: plane.keyid().to_owned(), algorithm: plane.algorithm(), public_key_pem };
    let mut settings = Settings::new(NAME, folder.to_owned(), vec![pinned]).unwrap();
    (settings.key_is_new, settings.running_max) = (key_is_new, 1);
    let start = Instant::now();
    loop {
        let exec = Exec::Scripted(exec.clone());
        match Agent::open(settings.clone(), bus.clone(), clock.clone(), exec).await {
            Ok(agent) => return agent,
            // The run before lets go of the folder when its last task has ended.
            Err(error) => assert!(start.elapsed() < PATIENCE, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A command as it arrives, and its digest.
pub fn command(task_id: &str, text: &str, issued_at: Time) -> (Vec<u8>, String) {
    let body = Command {
        iss: PLANE.into(),
        task_id: task_id.into(),
        command: text.into(),
        user: None,
        timeout: 30,
        issued_at,
        expires_at: issued_at.plus(VALID),
        targets: targets(),
        requested_by: "test".into(),
    };
    let payload = serde_json::to_vec(&body).unwrap();
    let digest = digest(&payload);
    (addressed(Kind::Command, payload), digest)
}

/// A cancel as it arrives.
pub fn cancel(task_id: &str, command_digest: &str, issued_at: Time) -> Vec<u8> {
    let body = Cancel {
        iss: PLANE.into(),
        task_id: task_id.into(),
        command_digest: command_digest.into(),
        issued_at,
        expires_at: issued_at.plus(VALID),
        targets: targets(),
    };
    addressed(Kind::Cancel, serde_json::to_vec(&body).unwrap())
}

fn targets() -> Targets {
    Targets { count: 1, root: Tree::new([NAME]).root() }
}

fn addressed(kind: Kind, payload: Vec<u8>) -> Vec<u8> {
    let envelope = Envelope::sign(kind, payload, &keys()[0]).unwrap().to_json();
    let proof = serde_json::to_string(&Tree::new([NAME]).proof(0)).unwrap();
    format!("{{\"envelope\":{envelope},\"proof\":{proof}}}").into_bytes()
}

/// A script for commands that end at once.
pub fn ends(_: &Job) -> Script {
    Script::Ends(agent::exec::Outcome::new(agent::exec::End::Exited(0), "done"))
}
