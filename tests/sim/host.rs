//! A server: an agent with its folder and its clock, and the commands that run there.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agent::exec::{End, Exec, Job, Outcome, Script, Scripted, StartError};
use agent::{Agent, Settings};
use shared::audit::Run;
use shared::bus::{Bus, Consumer, Subscription, consume};
use shared::clock::{Clock, Time};
use shared::db::lite::disk::{Faulty, Halt};
use shared::error::Result;
use shared::run::Chore;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use crate::drive::{drive, runtime};
use crate::machine::{Machine, Stop};
use crate::template::template;

/// Commands that run at one time; more wait.
const RUNNING_MAX: usize = 2;

/// How often commands ran, counted by themselves.
pub type Runs = Arc<Mutex<Vec<Run>>>;

/// A command that runs.
struct Running {
    command: String,
    overdue_at: Time,
    ends: oneshot::Sender<Outcome>,
}

/// An agent that is up.
struct Up {
    agent: Agent,
    consumer: Consumer,
    chores: Vec<Chore>,
    hold: Option<Subscription>,
}

/// A server.
pub struct Host {
    pub name: &'static str,
    halt: Halt,
    pub machine: Machine,
    pub clock: Clock,
    bus: Bus,
    runs: Runs,
    running: Arc<Mutex<Vec<Running>>>,
    up: Option<(Runtime, Up)>,
}

impl Host {
    /// The server at this place of the list, with its agent not started yet.
    pub fn new(
        (place, name): (usize, &'static str),
        root: &Path,
        halt: &Halt,
        clock: Clock,
        bus: Bus,
        runs: Runs,
    ) -> Self {
        let machine = Machine::new(root.join(name), "journal.db", halt.clone());
        fs::write(machine.folder().join("agent-key.pem"), &template().host_pems[place]).unwrap();
        Self { name, halt: halt.clone(), machine, clock, bus, runs, running: Arc::default(), up: None }
    }

    /// Whether its agent is up.
    pub const fn is_up(&self) -> bool {
        self.up.is_some()
    }

    /// Starts its agent; it may be that it cannot, or ends at once.
    pub fn start(&mut self, plane: &Faulty) {
        let mut settings = Settings::new(self.name, self.machine.folder(), vec![template().plane_key.clone()]).unwrap();
        settings.running_max = RUNNING_MAX;
        settings.disk = self.machine.seam();
        let runtime = runtime();
        let exec = Exec::Scripted(self.scripted());
        let opened = Agent::open(settings, self.bus.clone(), self.clock.clone(), exec);
        let disk = self.machine.disk.clone();
        let at_end = || self.machine.restart(Stop::Kill);
        match drive(&runtime, &self.halt, &[&disk, plane], at_end, opened) {
            Some(Ok(agent)) => {
                let service = agent.service();
                let consumer = service.consumers.into_iter().next().unwrap();
                self.up = Some((runtime, Up { agent, consumer, chores: service.chores, hold: None }));
            }
            Some(Err(_)) => (), // its disk is full: it is started again later
            None => self.forget(),
        }
    }

    /// Its agent ends, with everything that runs.
    pub fn end(&mut self, stop: Stop) {
        self.machine.restart(stop);
        self.forget();
    }

    fn forget(&mut self) {
        self.halt.clear();
        drop(self.up.take());
        self.running.lock().unwrap().clear();
    }

    /// Its agent loses its hold on the queue.
    pub fn disconnect(&mut self) {
        if let Some((_, up)) = &mut self.up {
            up.hold = None;
        }
    }

    /// Lets its agent do something. When it ends at a write, it is gone.
    fn drive<T>(&mut self, plane: &Faulty, work: impl AsyncFnOnce(&mut Up) -> T) -> Option<T> {
        let (runtime, mut up) = self.up.take()?;
        let disk = self.machine.disk.clone();
        let at_end = || self.machine.restart(Stop::Kill);
        let done = drive(&runtime, &self.halt, &[&disk, plane], at_end, work(&mut up));
        self.up = Some((runtime, up));
        if done.is_none() {
            self.forget();
        }
        done
    }

    /// Time has passed.
    pub fn wake(&mut self, plane: &Faulty) {
        self.drive(plane, async |_| ());
    }

    /// Its agent takes a batch of what waits for it. Returns how many messages that were.
    pub fn take(&mut self, plane: &Faulty, ack_lost: bool) -> Option<Result<usize>> {
        let bus = self.bus.clone();
        self.drive(plane, async move |up| {
            let taken = take(up, &bus, ack_lost).await;
            if ack_lost || taken.is_err() {
                up.hold = None;
            }
            taken
        })
    }

    /// Its agent does a chore. Returns whether there is more to do.
    pub fn chore(&mut self, plane: &Faulty, name: &str) -> Option<Result<bool>> {
        self.drive(plane, async |up| {
            let chore = up.chores.iter().find(|chore| chore.name == name).unwrap();
            (chore.work)().await
        })
    }

    /// Its agent sends a heartbeat, in its own time: it looks at the load for a while.
    pub fn heartbeat(&mut self, plane: &Faulty) {
        self.drive(plane, async |up| {
            let chore = up.chores.iter().find(|chore| chore.name == "heartbeat").unwrap();
            tokio::spawn((chore.work)());
        });
    }

    /// How many reports its agent has not handed in, by its own file.
    pub fn spooled(&self) -> u64 {
        self.up.as_ref().map_or(0, |(_, up)| up.agent.spooled() as u64)
    }

    /// How many commands run.
    pub fn running(&self) -> usize {
        self.running.lock().unwrap().iter().filter(|job| !job.ends.is_closed()).count()
    }

    /// Ends the `nth` command that runs, unless it hangs and its time is not over. `at_any_rate` it ends.
    pub fn finish(&mut self, plane: &Faulty, nth: usize, at_any_rate: bool) -> bool {
        let now = self.clock.now();
        let mut running = self.running.lock().unwrap();
        running.retain(|job| !job.ends.is_closed()); // cancelled
        let Some(job) = running.get(nth % running.len().max(1)) else { return false };
        let overdue = at_any_rate || now > job.overdue_at;
        let outcome = match job.command.split(' ').next() {
            Some("hang") if overdue => Outcome::new(End::TimedOut, "cut"),
            Some("hang") => return false,
            Some("fail") => Outcome::new(End::Exited(3), "no"),
            _ => Outcome::new(End::Exited(0), "yes"),
        };
        let place = nth % running.len();
        let job = running.remove(place);
        drop(running);
        job.ends.send(outcome).ok(); // cancelled at this moment
        self.wake(plane);
        true
    }

    fn scripted(&self) -> Scripted {
        let (runs, running, clock) = (Arc::clone(&self.runs), Arc::clone(&self.running), self.clock.clone());
        Scripted::new(move |job| start(job, &runs, &running, clock.now()))
    }
}

async fn take(up: &mut Up, bus: &Bus, ack_lost: bool) -> Result<usize> {
    if up.hold.is_none() {
        up.hold = Some(bus.subscribe(&up.consumer.queue).await?);
        up.consumer.handler.attached();
    }
    let Some(hold) = &mut up.hold else { return Ok(0) };
    if ack_lost {
        let taken = hold.take(up.consumer.batch_max).await?;
        let taken = up.consumer.judge(taken).await.len();
        return Ok(taken);
    }
    consume::step(hold, &up.consumer).await.map(|(handled, _)| handled)
}

/// A command begins to run, unless it cannot; it counts that itself.
fn start(job: &Job, runs: &Runs, running: &Mutex<Vec<Running>>, now: Time) -> Script {
    if job.command.starts_with("absent") {
        return Script::Fails(StartError::Spawn(std::io::ErrorKind::NotFound.into()));
    }
    let (task_id, hostname) = (job.task_id.clone(), job.hostname.clone());
    runs.lock().unwrap().push(Run { task_id, hostname, at: Some(now) });
    if job.command.starts_with("quick") {
        return Script::Ends(Outcome::new(End::Exited(0), "yes"));
    }
    let (ends, ended) = oneshot::channel();
    let overdue_at = now.plus(job.timeout).plus(Duration::from_secs(5));
    running.lock().unwrap().push(Running { command: job.command.clone(), overdue_at, ends });
    Script::Waits(ended)
}
