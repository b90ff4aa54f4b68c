//! The soak: many agents, many commands, and faults at random for a long time; then everything
//! heals, the queues drain, and each task is judged. What happens follows from the seed; when, and
//! what that does, does not.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use shared::audit::Violation;

use crate::caller::{Caller, Work};
use crate::proxy::Way;
use crate::random::Random;
use crate::rig::{Rig, SERVICES};
use crate::verdict;

const HELP: &str = "\
Random faults over real programs, then a verdict on every task.

Usage: cargo test -p muster-tests --test faults -- soak [--minutes N] [--agents N] [--commands N] [--seed N]

  --minutes N    how long commands are sent and faults happen (default 60)
  --agents N     real agents, each a process (default 50)
  --commands N   commands, spread over the time; one in 50 goes to all servers (default 10000)
  --seed N       what the faults follow from (default 1)

Example: cargo test -p muster-tests --test faults -- soak --minutes 5 --agents 10 --commands 500
";

/// One command in so many goes to all servers, the others to one each.
const ONE_TO_ALL: usize = 50;
/// Commands that are on their way to being accepted at a time.
const SENDERS: usize = 4;
/// Between two faults, at most, in milliseconds; and how long one lasts, at most.
const PAUSE_MILLIS: usize = 5_000;
const LASTING_MILLIS: usize = 8_000;
/// How long all may take to be decided in the end: a command that nobody reports has its minutes.
const DECIDED_WITHIN: Duration = Duration::from_secs(20 * 60);
/// How often it says how far it is.
const TOLD_EVERY: Duration = Duration::from_secs(60);
/// Violations that are printed.
const SHOWN_MAX: usize = 50;

/// What is asked for.
struct Wish {
    minutes: usize,
    agents: usize,
    commands: usize,
    seed: usize,
}

impl Wish {
    fn parse(words: &[String]) -> Result<Self, String> {
        let mut wish = Self { minutes: 60, agents: 50, commands: 10_000, seed: 1 };
        for pair in words.chunks(2) {
            let field = match pair[0].as_str() {
                "--minutes" => &mut wish.minutes,
                "--agents" => &mut wish.agents,
                "--commands" => &mut wish.commands,
                "--seed" => &mut wish.seed,
                other => return Err(format!("`{other}` is no option of the soak")),
            };
            let number = pair.get(1).and_then(|text| text.parse().ok()).filter(|number| *number > 0);
            *field = number.ok_or_else(|| format!("{} needs a whole number above 0", pair[0]))?;
        }
        Ok(wish)
    }

    fn lasting(&self) -> Duration {
        Duration::from_secs(self.minutes as u64 * 60)
    }
}

/// Runs it as asked.
pub async fn run(words: &[String]) -> ExitCode {
    if words.iter().any(|word| word == "--help") {
        print!("{HELP}");
        return ExitCode::SUCCESS;
    }
    match Wish::parse(words) {
        Ok(wish) => soak(&wish).await,
        Err(wrong) => {
            eprintln!("{wrong}\n\n{HELP}");
            ExitCode::from(2)
        }
    }
}

async fn soak(wish: &Wish) -> ExitCode {
    let Wish { minutes, agents, commands, seed } = wish;
    println!("soak: {commands} commands over {agents} agents for {minutes} minutes, seed {seed}");
    let hosts: Vec<_> = (1..=*agents).map(|number| format!("s{number:03}")).collect();
    let mut rig = Rig::new(&hosts.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let senders: Vec<_> = (0..SENDERS)
        .map(|sender| tokio::spawn(send(Arc::clone(&rig.caller), hosts.clone(), sender, *commands, wish.lasting())))
        .collect();
    let faults = harm(&mut rig, *seed as u64, wish.lasting()).await;
    println!("soak: healing, and waiting until all is decided");
    rig.heal().await;
    for sender in senders {
        sender.await.unwrap();
    }
    let tally = verdict::judge(&mut rig, 0, DECIDED_WITHIN).await;
    let wrong = verdict::close(&rig).await;
    tell(&faults, &tally, rig.caller.refused(), &wrong);
    rig.stack.stop();
    if tally.violations.is_empty() && wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// One of the senders: its share of the commands, evenly over the time.
async fn send(caller: Arc<Caller>, hosts: Vec<String>, sender: usize, commands: usize, lasting: Duration) {
    let every = lasting * u32::try_from(SENDERS).unwrap() / u32::try_from(commands).unwrap();
    let start = Instant::now();
    for (place, number) in (sender..commands).step_by(SENDERS).enumerate() {
        let due = every * u32::try_from(place).unwrap();
        tokio::time::sleep(due.saturating_sub(start.elapsed())).await;
        let one = json!({ "target_type": "node", "target": hosts[number % hosts.len()] });
        let wishes = if number % ONE_TO_ALL == 0 { Value::Null } else { one };
        caller.post(Work::mixed(number), wishes).await;
    }
}

/// Harms the plane until the time is over. Returns how often each kind of fault happened.
async fn harm(rig: &mut Rig, seed: u64, lasting: Duration) -> BTreeMap<&'static str, usize> {
    let (mut random, mut faults) = (Random::new(seed), BTreeMap::new());
    let (start, mut told) = (Instant::now(), Instant::now());
    while start.elapsed() < lasting {
        tokio::time::sleep(random.up_to_millis(PAUSE_MILLIS)).await;
        *faults.entry(fault(rig, &mut random).await).or_default() += 1;
        if told.elapsed() > TOLD_EVERY {
            told = Instant::now();
            let (minutes, posted) = (start.elapsed().as_secs() / 60, rig.caller.posted().len());
            println!("soak: {minutes} minutes, {posted} commands accepted, {} faults", faults.values().sum::<usize>());
        }
    }
    faults
}

/// Lets one fault happen, and ends it.
async fn fault(rig: &mut Rig, random: &mut Random) -> &'static str {
    let service = random.one_of(&SERVICES).to_owned();
    let agent = rig.hosts[random.below(rig.hosts.len())].clone();
    let lasting = random.up_to_millis(LASTING_MILLIS);
    match random.below(9) {
        0 | 1 => killed(rig, &service, lasting / 4, "kill -9 of a service").await,
        2 | 3 => killed(rig, &agent, lasting, "kill -9 of an agent").await,
        4 => {
            rig.pause(&service, lasting).await;
            "SIGSTOP of a service"
        }
        5 => {
            rig.pause(&agent, lasting).await;
            "SIGSTOP of an agent"
        }
        6 => {
            rig.steer("close_all_connections", &["the soak"]);
            "connections closed by the broker"
        }
        _ => broken(rig, random, lasting).await,
    }
}

async fn killed(rig: &mut Rig, name: &str, lasting: Duration, what: &'static str) -> &'static str {
    rig.kill(name);
    tokio::time::sleep(lasting).await;
    rig.revive(name);
    what
}

async fn broken(rig: &mut Rig, random: &mut Random, lasting: Duration) -> &'static str {
    let ways = [
        (Way::Cut, "a way cut"),
        (Way::Frozen, "a way half-open"),
        (Way::Slow, "a way slow"),
        (Way::Torn, "a way torn in the middle of a frame"),
    ];
    let (way, what) = random.one_of(&ways);
    let proxy = random.one_of(&[&rig.broker, &rig.agents, &rig.database]);
    proxy.set(way);
    tokio::time::sleep(lasting).await;
    proxy.mend();
    what
}

fn tell(faults: &BTreeMap<&'static str, usize>, tally: &verdict::Tally, refused: usize, wrong: &[String]) {
    println!("\n| what | count |\n|---|---|");
    println!("| commands accepted | {} |", tally.commands);
    println!("| requests sent again under their key | {refused} |");
    println!("| invocations | {} |", tally.states.values().sum::<usize>());
    println!("| runs, counted by the commands | {} |", tally.runs);
    tally.states.iter().for_each(|(state, count)| println!("| ended `{state}` | {count} |"));
    faults.iter().for_each(|(kind, count)| println!("| fault: {kind} | {count} |"));
    println!("| violations | {} |", tally.violations.len() + wrong.len());
    let shown = tally.violations.iter().map(Violation::to_string).chain(wrong.iter().cloned());
    shown.take(SHOWN_MAX).for_each(|violation| println!("{violation}"));
}
