//! What can happen next. The seed chooses; each choice is counted and written into the history.

use std::time::Duration;

use serde_json::{Value, json};
use shared::bus::Fault;
use shared::clock::Time;
use shared::db::lite::disk::{Crash, Faulty};
use shared::error::Result;

use crate::host::Host;
use crate::machine::Stop;
use crate::template::HOSTS;
use crate::world::{Asked, World};

/// Commands that a seed asks for at most.
const COMMANDS_MAX: usize = 8;
/// A crash happens at one of so many writes from now.
const CRASH_WITHIN_WRITES: usize = 5;

/// How many actions a full disk stays full on average.
const FULL_FOR: usize = 8;

/// What a command does on its server, by its first word: ends at once, ends well, ends badly, runs until
/// its time is over, is not there.
const COMMANDS: [&str; 5] = ["quick", "good", "fail", "hang", "absent"];
/// How long a command may wait for its server, in seconds.
const EXPIRES_IN: [i64; 4] = [60, 600, 3_600, 3_600];
/// How much time passes at once, in seconds: more than any back-off, whose length is not the seed's.
const ADVANCE: [u64; 12] = [11, 11, 11, 11, 11, 11, 11, 45, 45, 660, 660, 7_200];
/// How far a clock is set wrong, in seconds.
const JUMPS: [i64; 6] = [-3_600, -600, -90, 90, 600, 3_600];

/// Does something.
pub fn act(world: &mut World) {
    make_room(world);
    match world.random.below(100) {
        0..9 => post(world),
        9..22 => relay(world),
        22..58 => agent(world),
        58..69 => ingest(world),
        69..74 => advance(world),
        74..76 => watchdog(world),
        76..78 => rollout(world),
        78..80 => cancel(world),
        80..84 => look(world),
        84..86 => enrol(world),
        86..90 => release(world),
        90..94 => agents_end(world),
        94..96 => plane_ends(world),
        96..98 => disk(world),
        98 => jump(world),
        _ => heartbeat(world),
    }
}

fn did(world: &mut World, what: &str, how: &str) {
    world.coverage.count("actions", what);
    world.note(format!("{what}: {how}"));
}

fn fault(world: &mut World, what: &str, how: &str) {
    world.coverage.count("faults", what);
    world.note(format!("! {what}: {how}"));
}

fn told<T>(done: Option<Result<T>>) -> &'static str {
    match done {
        None => "ended at a write",
        Some(Ok(_)) => "done",
        Some(Err(_)) => "failed",
    }
}

/// Does something while the line to the broker is bad, now and then.
fn on_the_line<T>(world: &mut World, work: impl FnOnce(&mut World) -> T) -> T {
    let mut planned = Vec::new();
    if world.random.once_in(4) {
        for _ in 0..=world.random.below(3) {
            planned.push(world.random.one_of(&[Fault::Refused, Fault::ConfirmLost, Fault::Doubled, Fault::Delayed]));
        }
    }
    planned.iter().for_each(|fault| world.plane.bus.plan(*fault));
    let done = work(world);
    let left = world.plane.bus.spare();
    for happened in &planned[..planned.len() - left] {
        fault(world, &format!("message {happened:?}"), "");
    }
    done
}

/// Does something that ends at a write to `disk`, now and then.
fn at_a_write<T>(world: &mut World, disk: &Faulty, part: &str, work: impl FnOnce(&mut World) -> T) -> T {
    let planned = world.random.once_in(6).then(|| {
        let write = world.random.below(CRASH_WITHIN_WRITES) as u32;
        (write, world.random.one_of(&[Crash::Before, Crash::After]))
    });
    if let Some((write, when)) = planned {
        disk.crash_at(write, when);
    }
    let done = work(world);
    if let Some((write, when)) = planned
        && !disk.spare()
    {
        fault(world, &format!("{part} ended {when:?} a write"), &write.to_string());
        // What it was doing at the bus, which lives in memory too, it may have left half done.
        restart_broker(world);
    }
    done
}

fn of_plane<T>(world: &mut World, part: &str, work: impl FnOnce(&mut World) -> Option<T>) -> Option<T> {
    let disk = world.plane.machine.disk.clone();
    at_a_write(world, &disk, part, work)
}

fn post(world: &mut World) {
    let unsure = world.asked.iter().position(|asked| asked.key.is_some() && asked.task_id.is_none());
    let place = match unsure {
        Some(place) => place,
        None if world.asked.len() >= COMMANDS_MAX => match world.asked.iter().position(|asked| asked.key.is_some()) {
            Some(place) => place, // asked once more, for nothing
            None => return,
        },
        None => {
            let asked = new_command(world);
            world.asked.push(asked);
            world.asked.len() - 1
        }
    };
    let status = of_plane(world, "API", |world| world.ask(place));
    let again = if unsure.is_some() { "post again" } else { "post" };
    let body = world.asked[place].body.to_string();
    did(world, again, &format!("{place} {status:?} {body}"));
}

fn new_command(world: &mut World) -> Asked {
    let number = world.asked.len();
    let random = &mut world.random;
    let key = random.once_in(2).then(|| format!("key-{number}"));
    let mut body = json!({
        "target_type": "all",
        "command": format!("{} {number}", random.one_of(&COMMANDS)),
        "expires_in": random.one_of(&EXPIRES_IN),
        "timeout": 30,
    });
    if random.once_in(4) {
        body["max_concurrency"] = json!(random.one_of(&["1", "2", "50%"]));
        body["max_errors"] = json!(random.one_of(&["0", "1", "50%"]));
    } else if random.once_in(3) {
        body["target_type"] = json!("node");
        body["target"] = json!(random.one_of(&HOSTS));
    }
    Asked { number, key, body, task_id: None }
}

fn relay(world: &mut World) {
    let is_other = world.random.once_in(4);
    let step = |world: &mut World| if is_other { world.plane.other_relay() } else { world.plane.relay() };
    let done = on_the_line(world, |world| of_plane(world, "relay", step));
    did(world, if is_other { "other relay" } else { "relay" }, told(done));
}

fn watchdog(world: &mut World) {
    let done = of_plane(world, "watchdog", |world| world.plane.watchdog());
    did(world, "watchdog", told(done));
}

fn rollout(world: &mut World) {
    let done = of_plane(world, "roll-out", |world| world.plane.rollout());
    did(world, "roll-out", told(done));
}

fn ingest(world: &mut World) {
    let place = usize::from(world.random.once_in(10));
    let ack_lost = world.random.once_in(12);
    let done = of_plane(world, "ingestor", |world| world.plane.ingest(place, ack_lost));
    if ack_lost && matches!(done, Some(Ok(1..))) {
        fault(world, "ingestor's ack lost", "");
    }
    did(world, "ingest", told(done));
}

fn agent(world: &mut World) {
    let place = world.random.below(world.hosts.len());
    if !world.hosts[place].is_up() {
        return start(world, place);
    }
    let plane = world.plane.machine.disk.clone();
    // Either the agent's own file, or the broker's, at which it ends just before or after a publish.
    let disk = if world.random.once_in(3) { plane.clone() } else { world.hosts[place].machine.disk.clone() };
    let what = world.random.below(10);
    on_the_line(world, |world| at_a_write(world, &disk, "agent", |world| step(world, place, what, &plane)));
    disk.spare();
    if !world.hosts[place].is_up() && world.random.once_in(2) {
        start(world, place);
    }
}

fn step(world: &mut World, place: usize, what: usize, plane: &Faulty) {
    let host = &mut world.hosts[place];
    let name = host.name;
    let (what, how) = match what {
        0..5 => {
            let ack_lost = world.random.once_in(10);
            let done = host.take(plane, ack_lost);
            if ack_lost && matches!(done, Some(Ok(1..))) {
                fault(world, "agent's ack lost", name);
            }
            ("take", told(done))
        }
        5..7 => {
            let nth = world.random.below(8);
            ("finish", if host.finish(plane, nth, false) { "done" } else { "nothing ends" })
        }
        7..9 => ("flush", told(host.chore(plane, "spool"))),
        _ => ("tidy", told(host.chore(plane, "tidy"))),
    };
    did(world, what, &format!("{name} {how}"));
}

fn start(world: &mut World, place: usize) {
    if world.is_gone && world.gone == Some(place) {
        return;
    }
    let plane = world.plane.machine.disk.clone();
    let disk = world.hosts[place].machine.disk.clone();
    at_a_write(world, &disk, "starting agent", |world| world.hosts[place].start(&plane));
    let how = if world.hosts[place].is_up() { "up" } else { "not up" };
    let name = world.hosts[place].name;
    did(world, "start", &format!("{name} {how}"));
}

fn heartbeat(world: &mut World) {
    let place = world.random.below(world.hosts.len());
    let plane = world.plane.machine.disk.clone();
    world.hosts[place].heartbeat(&plane);
    did(world, "heartbeat", world.hosts[place].name);
}

fn advance(world: &mut World) {
    let seconds = world.random.one_of(&ADVANCE);
    world.advance(Duration::from_secs(seconds));
    did(world, "advance", &format!("{seconds} s"));
}

fn cancel(world: &mut World) {
    if world.asked.is_empty() {
        return;
    }
    let place = world.random.below(world.asked.len());
    let Some(task_id) = world.asked[place].task_id.clone() else { return };
    let path = format!("/api/tasks/{task_id}/cancel");
    let done = of_plane(world, "API", |world| world.plane.call("POST", &path, None, &Value::Null));
    did(world, "cancel", &format!("{place} {:?}", done.map(|(status, _)| status)));
}

fn look(world: &mut World) {
    if world.asked.is_empty() {
        return;
    }
    let place = world.random.below(world.asked.len());
    let Some(task_id) = world.asked[place].task_id.clone() else { return };
    world.look(&task_id, Time(i64::MIN)); // nothing is overdue yet
    did(world, "look", &place.to_string());
}

fn enrol(world: &mut World) {
    let place = world.random.below(world.hosts.len());
    let name = world.hosts[place].name;
    let status = of_plane(world, "API", |world| world.register(place, false));
    if status == Some(404) {
        let status = world.register(place, true);
        return did(world, "register", &format!("{name} {status:?}"));
    }
    did(world, "delete server", &format!("{name} {status:?}"));
}

/// What was held back arrives, after what was sent later.
fn release(world: &mut World) {
    let held = world.plane.bus.held();
    if held == 0 {
        return;
    }
    let place = world.random.below(held);
    let done = world.plane.release(place);
    did(world, "late message", told(done));
}

fn agents_end(world: &mut World) {
    let place = world.random.below(world.hosts.len());
    if !world.hosts[place].is_up() {
        return start(world, place);
    }
    let (host, name) = (&mut world.hosts[place], HOSTS[place]);
    match world.random.below(3) {
        0 => {
            host.disconnect();
            return fault(world, "agent lost its connection", name);
        }
        1 => {
            host.end(Stop::Kill);
            fault(world, "agent killed", name);
        }
        _ => {
            host.end(Stop::PowerCut);
            fault(world, "agent's power cut", name);
        }
    }
    world.is_gone |= world.gone == Some(place);
    if world.random.once_in(2) {
        start(world, place);
    }
}

fn restart_broker(world: &mut World) {
    world.hosts.iter_mut().for_each(Host::disconnect);
    world.plane.restart_broker();
}

fn plane_ends(world: &mut World) {
    world.hosts.iter_mut().for_each(Host::disconnect);
    match world.random.below(3) {
        0 => {
            restart_broker(world);
            fault(world, "broker restarted", "");
        }
        1 => {
            world.plane.restart(Stop::Kill);
            fault(world, "plane killed", "");
        }
        _ => {
            world.plane.restart(Stop::PowerCut);
            world.witness.history.clear(); // soft commits may be taken back, and are done again
            fault(world, "plane's power cut", "");
        }
    }
}

fn disks(world: &World) -> Vec<Faulty> {
    let machines = world.hosts.iter().map(|host| &host.machine).chain([&world.plane.machine]);
    machines.map(|machine| machine.disk.clone()).collect()
}

/// A full disk does not stay so for long.
fn make_room(world: &mut World) {
    let disks = disks(world);
    if disks.iter().any(Faulty::is_full) && world.random.once_in(FULL_FOR) {
        disks.iter().for_each(|disk| disk.set_full(false));
        world.note("room again");
    }
}

fn disk(world: &mut World) {
    let disks = disks(world);
    let place = world.random.below(disks.len());
    disks[place].set_full(true);
    let whose = if place < world.hosts.len() { "agent's disk full" } else { "plane's disk full" };
    fault(world, whose, &place.to_string());
}

fn jump(world: &mut World) {
    let seconds = world.random.one_of(&JUMPS);
    let place = world.random.below(world.hosts.len() + 1);
    let (clock, whose) = match world.hosts.get(place) {
        Some(host) => (&host.clock, "agent's clock"),
        None => (&world.plane.clock, "plane's clock"),
    };
    clock.set(Time(clock.now().0 + seconds * 1_000));
    world.latest = world.latest.max(world.plane.clock.now());
    let way = if seconds > 0 { "ahead" } else { "back" };
    fault(world, &format!("{whose} set {way}"), &format!("{place} by {seconds} s"));
}
