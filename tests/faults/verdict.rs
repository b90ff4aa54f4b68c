//! What came of the commands: waits until each is decided, has the shared checker judge it against
//! what the commands counted themselves, and looks what is left behind.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use shared::audit::{self, Leftovers, Record, Run, Source, Violation, Witness};
use shared::clock::Clock;
use shared::contract::task::Invocation;
use shared::error::{Kind, chain};
use shared::http::client::Client;
use shared::store;
use sqlx::{Connection as _, MySqlConnection};

use crate::caller::Posted;
use crate::rig::{LOOK, PATIENCE, Rig};

/// How long what is decided may take to leave nothing behind.
const QUIET_WITHIN: Duration = Duration::from_secs(60);

/// Figures of some commands.
#[derive(Debug, Default)]
pub struct Tally {
    pub commands: usize,
    pub runs: usize,
    /// Invocations by the state in which they ended.
    pub states: BTreeMap<String, usize>,
    pub violations: Vec<Violation>,
}

impl Tally {
    /// The states in words.
    pub fn ends(&self) -> String {
        self.states.iter().map(|(state, count)| format!("{count} {state}")).collect::<Vec<_>>().join(", ")
    }
}

/// Waits until everything posted from the `first` on is decided and nothing is left behind, and judges
/// it.
pub async fn judge(rig: &mut Rig, first: usize, within: Duration) -> Tally {
    let posted = rig.caller.posted().split_off(first);
    let reader = rig.caller.reader();
    let mut witness = Witness::default();
    let start = Instant::now();
    for one in &posted {
        until_decided(&reader, one, &mut witness, start + within).await;
    }
    let leftovers = until_quiet(rig, &posted).await;
    let (runs, strangers) = rig.caller.runs(&rig.hosts);
    assert!(strangers.is_empty(), "commands ran that were never accepted: {strangers:?}");
    let mut runs_of: BTreeMap<String, Vec<Run>> = BTreeMap::new();
    runs.into_iter().for_each(|run| runs_of.entry(run.task_id.clone()).or_default().push(run));
    let mut tally = Tally { commands: posted.len(), violations: leftovers.check(), ..Tally::default() };
    for one in &posted {
        witness.runs = runs_of.remove(&one.task_id).unwrap_or_default(); // all of this task
        tally.runs += witness.runs.len();
        judge_one(&reader, one, &witness, &mut tally).await;
    }
    tally
}

async fn judge_one(reader: &Client, one: &Posted, witness: &Witness, tally: &mut Tally) {
    let record = match Record::collect(Source::Http(reader), &one.task_id).await {
        Ok(record) => record,
        Err(error) if error.kind() == Kind::NotFound => return tally.violations.push(audit::missing(&one.task_id)),
        Err(error) => panic!("a task cannot be read: {}", chain(&error)),
    };
    for invocation in &record.invocations {
        *tally.states.entry(invocation.status.as_str().to_owned()).or_default() += 1;
    }
    tally.violations.extend(audit::check(&record, Some(witness), Clock::System.now()));
}

/// Reads a task until no invocation of it is open, and notes the states on the way.
async fn until_decided(reader: &Client, one: &Posted, witness: &mut Witness, end: Instant) {
    let path = format!("/api/tasks/{}", one.task_id);
    loop {
        let said = match reader.get::<Vec<Invocation>>(&format!("{path}/invocations")).await {
            Ok(list) => {
                list.iter().for_each(|seen| witness.saw(&one.task_id, &seen.hostname, seen.status));
                let open: Vec<_> = list.iter().filter(|seen| seen.status.is_open()).collect();
                if open.is_empty() {
                    return;
                }
                format!("{open:?}")
            }
            Err(error) => chain(&error).to_string(),
        };
        assert!(Instant::now() < end, "the command {} stays undecided: {said}", one.token);
        tokio::time::sleep(LOOK).await;
    }
}

/// Waits until no invocation of the newest task is open, which it was only guessed for.
pub async fn until_guessed(rig: &Rig, within: Duration) {
    let newest = rig.caller.posted().pop().unwrap();
    let mut witness = Witness::default();
    until_decided(&rig.caller.reader(), &newest, &mut witness, Instant::now() + within).await;
    let last = witness.history.values().filter_map(|states| states.last());
    assert!(
        last.clone().count() > 0 && last.clone().all(|state| state.is_provisional()),
        "it was no guess: {witness:?}"
    );
}

/// Waits until outbox, spools and processes are empty; what stays is what is returned.
async fn until_quiet(rig: &Rig, posted: &[Posted]) -> Leftovers {
    let db = rig.stack.database.pool();
    let tasks: BTreeSet<_> = posted.iter().map(|one| one.task_id.as_str()).collect();
    let start = Instant::now();
    loop {
        let mut leftovers =
            Leftovers { outbox: store::outbox::backlog(&db).await.unwrap().0.unsigned_abs(), ..Leftovers::default() };
        for host in &rig.hosts {
            let journal = rig.stack.folder.path().join(format!("agent-{host}/journal.db"));
            leftovers.spools.insert(host.clone(), spooled(&journal).await);
        }
        leftovers.processes = processes(&tasks);
        if leftovers.check().is_empty() || start.elapsed() > QUIET_WITHIN {
            db.close().await;
            return leftovers;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Reports that an agent's journal still holds.
async fn spooled(journal: &Path) -> u64 {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(journal).read_only(true);
    let mut connection = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
    let count = sqlx::query_scalar::<_, i64>("select count(*) from jobs where result is not null");
    let count = count.fetch_one(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    count.unsigned_abs()
}

/// Processes that still run for these tasks.
fn processes(tasks: &BTreeSet<&str>) -> Vec<String> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let of_a_task = |entry: std::fs::DirEntry| {
        let environment = std::fs::read(entry.path().join("environ")).ok()?; // it may have ended just now
        let mut variables = environment.split(|byte| *byte == 0).filter_map(|one| std::str::from_utf8(one).ok());
        let task = variables.find_map(|one| one.strip_prefix("MUSTER_TASK_ID="))?;
        tasks.contains(task).then(|| format!("{} of {task}", entry.file_name().display()))
    };
    entries.filter_map(of_a_task).collect()
}

/// What must hold of the whole plane when its cells are over: it knows each accepted command once and no
/// other, no queue holds anything, and nothing was given up but what cells provoked.
pub async fn close(rig: &Rig) -> Vec<String> {
    let mut wrong = Vec::new();
    let posted: Vec<_> = rig.caller.posted().into_iter().map(|one| one.task_id).collect();
    let known: BTreeSet<_> = posted.iter().collect();
    if known.len() != posted.len() {
        wrong.push("two commands were told the same task".to_owned());
    }
    let mut database = MySqlConnection::connect(&rig.stack.database.url()).await.unwrap();
    let tasks: i64 = sqlx::query_scalar("select count(*) from tasks").fetch_one(&mut database).await.unwrap();
    if tasks.unsigned_abs() != known.len() as u64 {
        wrong.push(format!("{} commands were accepted, and the plane has {tasks} tasks", known.len()));
    }
    wrong.extend(until_drained(rig).await);
    let letters: i64 = sqlx::query_scalar("select count(*) from dead_letters").fetch_one(&mut database).await.unwrap();
    if letters.unsigned_abs() > rig.planted as u64 {
        wrong.push(format!("the plane keeps {letters} dead letters, and may keep {}", rig.planted));
    }
    wrong
}

/// Waits until the queues are empty; what stays is what is returned.
async fn until_drained(rig: &Rig) -> Vec<String> {
    let start = Instant::now();
    loop {
        let list = rig.steer("list_queues", &["name", "messages", "--formatter", "json"]);
        let queues: Vec<Value> = serde_json::from_str(&list).unwrap();
        let left = |queue: &Value| {
            let (name, messages) = (queue["name"].as_str()?, queue["messages"].as_u64()?);
            // Heartbeats come all the time.
            let is_wrong = messages > 0 && name != "muster.heartbeats";
            is_wrong.then(|| format!("the queue {name} still holds {messages} messages"))
        };
        let left: Vec<_> = queues.iter().filter_map(left).collect();
        assert!(!queues.is_empty(), "the broker lists no queue");
        if left.is_empty() || start.elapsed() > QUIET_WITHIN {
            return left;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// How long a plane may take to decide all that it accepted, unless a cell says otherwise.
pub const DECIDED_WITHIN: Duration = PATIENCE;
