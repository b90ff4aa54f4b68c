//! The end of a seed: everything heals and is drained, then time passes every deadline, and then
//! what was promised is checked. Jepsen's way (<https://jepsen.io>): a fault may delay, so no judgement
//! before the faults are over; what is still missing then is lost.

use std::time::Duration;

use serde_json::Value;
use shared::audit::{Invariant, Leftovers, Violation};
use shared::bus::topology::{DEAD, agent_queue};
use shared::clock::Time;
use shared::contract::task::{Invocation, Task};
use shared::rules::invocation::{DEADLINE_GRACE, Status};

use crate::template::HOSTS;
use crate::world::World;

/// How often everybody is let work until there must be nothing more to do.
const ROUNDS_MAX: u32 = 200;
/// How much time passes between: a relay's lease runs out, and every back-off.
const BETWEEN: Duration = Duration::from_secs(31);
/// How late a message may be whose command is still in time.
const LATE: Duration = Duration::from_secs(660);
/// Beyond every deadline.
const LONG: Duration = Duration::from_secs(3 * 86_400);

/// Dead letters that a clock which was set wrong explains: a cancel that is not in time.
const EXPLAINED: [&str; 2] = ["expired", "from_the_future"];

/// Ends a seed and checks it.
pub fn end(world: &mut World) {
    heal(world);
    let drained = (0..ROUNDS_MAX).any(|_| {
        round(world);
        let quiet = is_quiet(world);
        if !quiet {
            world.advance(BETWEEN);
        }
        quiet
    });
    if !drained {
        found(world, Invariant::I7, None, None, "everything healed, and the work does not end");
    }
    let now = world.plane.clock.now();
    let tasks = tasks(world);
    stalled(world, &tasks, now);
    world.advance(LONG);
    while world.plane.watchdog().unwrap().unwrap() {}
    round(world);
    for (what, rows) in world.plane.numbers("select 'roll-outs', count(*) from rollouts") {
        if rows > 0 {
            found(world, Invariant::I7, None, None, &format!("{rows} {what} are left of tasks that are over"));
        }
    }
    let later = world.plane.clock.now();
    tasks.iter().for_each(|(task_id, _)| world.look(task_id, later));
    accepted(world, &tasks);
    let left = leftovers(world);
    world.violations.extend(left.check());
    states(world, &tasks);
}

fn found(world: &mut World, invariant: Invariant, task_id: Option<&str>, hostname: Option<&str>, what: &str) {
    let (task_id, hostname) = (task_id.map(str::to_owned), hostname.map(str::to_owned));
    world.violations.push(Violation { invariant, task_id, hostname, what: what.to_owned() });
}

fn is_away(world: &World, place: usize) -> bool {
    world.is_gone && world.gone == Some(place)
}

fn heal(world: &mut World) {
    world.note("--- everything heals");
    world.plane.machine.disk.set_full(false);
    world.plane.clock.set(world.latest);
    for place in 0..world.hosts.len() {
        let _registered_already = world.register(place, true); // 409 where it is on the roll
        let (now, plane) = (world.plane.clock.now(), world.plane.machine.disk.clone());
        let is_away = is_away(world, place);
        let host = &mut world.hosts[place];
        host.machine.disk.set_full(false);
        host.clock.set(now);
        host.disconnect();
        if !host.is_up() && !is_away {
            host.start(&plane);
        }
    }
    world.advance(BETWEEN);
    round(world);
    late(world);
}

/// What is still held back arrives last of all, when everybody has forgotten what may be forgotten.
fn late(world: &mut World) {
    world.advance(LATE);
    let plane = world.plane.machine.disk.clone();
    for host in world.hosts.iter_mut().filter(|host| host.is_up()) {
        host.chore(&plane, "tidy").unwrap().unwrap();
    }
    while world.plane.bus.held() > 0 {
        world.plane.release(0).unwrap().unwrap();
    }
}

/// Everybody works for as long as there is something to do.
fn round(world: &mut World) {
    while world.plane.relay().unwrap().unwrap() {}
    let plane = world.plane.machine.disk.clone();
    for host in world.hosts.iter_mut().filter(|host| host.is_up()) {
        while host.take(&plane, false).unwrap().unwrap() > 0 {}
        while host.running() > 0 && host.finish(&plane, 0, true) {}
        while host.chore(&plane, "spool").unwrap().unwrap() {}
    }
    for queue in [0, 1] {
        while world.plane.ingest(queue, false).unwrap().unwrap() > 0 {}
    }
    // Last, so that a wave that goes out is seen in the outbox, and makes another round.
    world.plane.rollout().unwrap().unwrap();
}

fn is_quiet(world: &World) -> bool {
    let left = leftovers(world);
    let busy = |host: &crate::host::Host| host.running() > 0;
    left.outbox == 0 && left.queues.is_empty() && left.spools.is_empty() && !world.hosts.iter().any(busy)
}

fn leftovers(world: &World) -> Leftovers {
    let is_away =
        |queue: &str| (0..HOSTS.len()).any(|place| is_away(world, place) && queue == agent_queue(HOSTS[place]));
    let count = |count: i64| count.unsigned_abs();
    let outbox = world.plane.numbers("select 'outbox', count(*) from outbox");
    let queues = world.plane.numbers("select queue, count(*) from bus_messages group by queue order by queue");
    let dead = world
        .plane
        .numbers("select coalesce(reason, ''), count(*) from bus_messages where queue = 'muster.dead' group by 1");
    let spool = |host: &crate::host::Host| (host.name.to_owned(), host.spooled());
    Leftovers {
        outbox: outbox.iter().map(|(_, rows)| count(*rows)).sum(),
        queues: queues.into_iter().filter(|(q, _)| q != DEAD && !is_away(q)).map(|(q, n)| (q, count(n))).collect(),
        spools: world.hosts.iter().filter(|host| host.is_up()).map(spool).filter(|(_, left)| *left > 0).collect(),
        dead: dead.into_iter().map(|(reason, _)| reason).filter(|why| !EXPLAINED.contains(&why.as_str())).collect(),
        ..Leftovers::default()
    }
}

/// Every task that the plane knows, with its command.
fn tasks(world: &World) -> Vec<(String, String)> {
    let (_, tasks) = world.plane.call("GET", "/api/tasks", None, &Value::Null).unwrap();
    let text = |task: &Value, field: &str| task[field].as_str().unwrap().to_owned();
    tasks.as_array().unwrap().iter().map(|task| (text(task, "task_id"), text(task, "command"))).collect()
}

/// What is still open although everything healed and was drained, and its time is not over: nobody
/// works on it any more.
fn stalled(world: &mut World, tasks: &[(String, String)], now: Time) {
    for (task_id, _) in tasks {
        let path = format!("/api/tasks/{task_id}");
        let (_, task) = world.plane.call("GET", &path, None, &Value::Null).unwrap();
        let task: Task = serde_json::from_value(task).unwrap();
        let (_, list) = world.plane.call("GET", &format!("{path}/invocations"), None, &Value::Null).unwrap();
        let list: Vec<Invocation> = serde_json::from_value(list).unwrap();
        // Nothing of its wave starts after this.
        let expires_at = |one: &Invocation| {
            Time(one.deadline.0 - task.timeout * 1_000 - i64::try_from(DEADLINE_GRACE.as_millis()).unwrap())
        };
        let one_is_out = list.iter().any(|one| one.wave.is_some() && one.status.is_open());
        for invocation in &list {
            let place = HOSTS.iter().position(|name| *name == invocation.hostname).unwrap();
            let in_time = now < expires_at(invocation)
                || invocation.status == Status::Accepted
                || invocation.status == Status::Running;
            let held_up = invocation.wave.is_none() && one_is_out;
            if invocation.status.is_open() && in_time && !is_away(world, place) && !held_up {
                let what = format!("everything healed, and it is still {}", invocation.status.as_str());
                found(world, Invariant::I1, Some(task_id), Some(&invocation.hostname), &what);
            }
        }
    }
}

/// What was accepted is there, and once.
fn accepted(world: &mut World, tasks: &[(String, String)]) {
    for place in 0..world.asked.len() {
        let asked = &world.asked[place];
        let command = asked.body["command"].as_str().unwrap();
        let made: Vec<_> = tasks.iter().filter(|(_, known)| known == command).map(|(id, _)| id.clone()).collect();
        if let Some(task_id) = asked.task_id.clone()
            && !made.contains(&task_id)
        {
            world.violations.push(shared::audit::missing(&task_id));
        }
        if world.asked[place].key.is_some() && made.len() > 1 {
            let number = world.asked[place].number;
            let what = format!("command {number} had one key and became {} tasks", made.len());
            found(world, Invariant::I1, None, None, &what);
        }
    }
}

/// Counts how the invocations ended, and what the plane guessed on the way.
fn states(world: &mut World, tasks: &[(String, String)]) {
    for (task_id, _) in tasks {
        let path = format!("/api/tasks/{task_id}/invocations");
        let (_, list) = world.plane.call("GET", &path, None, &Value::Null).unwrap();
        for invocation in list.as_array().unwrap() {
            world.coverage.count("ends", invocation["status"].as_str().unwrap());
            if let Some(guess) = invocation["provisional_status"].as_str() {
                world.coverage.count("guesses", guess);
            }
        }
    }
}
