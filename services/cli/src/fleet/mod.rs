//! `muster fleet`: as many agents as an installation shall have, in one process, so that its plane can
//! be measured before its servers exist.
//!
//! Each simulated agent keeps the whole contract of the wire: a key and a queue of its own, commands
//! verified, results really signed, an acknowledgement only once the broker has the result. Nothing is
//! executed and nothing is journalled, which on real servers is work of theirs and not of the plane.
//! Signing is work of theirs too, but here it takes this machine's cores; so it is measured apart.
//!
//! What was enrolled is known before the first request is sent, so it can be taken back whatever ends
//! the run.

mod answer;
mod figures;
mod keys;
mod line;
mod measure;
mod roll;
mod spent;

use std::path::PathBuf;

use clap::ValueEnum;
use shared::bus::Bus;
use shared::error::Result;
use shared::name;

use self::figures::Figures;
use self::line::Lines;
use self::roll::Roll;
use crate::exit::Exit;
use crate::plane::Session;
use crate::run::interrupt::unless_interrupted;

/// The most simulated agents: forty connections' worth.
const AGENTS_MAX: i64 = 20_000;
/// The most tasks of one run.
const TASKS_MAX: i64 = 1_000;

/// Simulates many agents against a control plane, sends them a command and measures what it takes
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  muster fleet
  muster fleet --agents 2000 --keys ./fleet-keys --tasks 5
  muster fleet --agents 500 --key-bits 2048 --group load --prefix load- --json

MUSTER_BROKER_URL, or MUSTER_BROKER_URL_FILE, must hold the broker's address with the agents' account;
MUSTER_BROKER_CA_FILE its CA, if it has one of its own. The command is not executed anywhere.

Afterwards the simulated servers are deleted and their keys revoked. With --keys the keys are kept for
the next run, and so stay valid; --keep leaves the servers too.

Exit status:
  0    every simulated agent's result was stored
  1    some were not
  2    bad usage, or the control plane or the broker refused
  3    the control plane or the broker cannot be reached
  130  left with Ctrl-C, after taking back what was enrolled")]
pub struct Args {
    /// How many agents
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(i64).range(1..=AGENTS_MAX))]
    agents: i64,
    /// The group that they make up; no other server may be in it
    #[arg(long, default_value = "fleet", value_parser = group)]
    group: String,
    /// What their names begin with
    #[arg(long, default_value = "sim-")]
    prefix: String,
    /// Folder that keeps their keys for the next run; making them takes longest of all
    #[arg(long, value_name = "DIR")]
    keys: Option<PathBuf>,
    /// Size of their keys; real agents make the larger ones, smaller ones cost this machine less
    #[arg(long, value_enum, default_value = "3072")]
    key_bits: KeyBits,
    /// How many tasks to send, one after another
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(i64).range(1..=TASKS_MAX))]
    tasks: i64,
    /// The command that they carry
    #[arg(long, default_value = "true")]
    command: String,
    /// Leave the simulated servers and their keys where they are
    #[arg(long)]
    keep: bool,
}

/// Sizes of key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum KeyBits {
    #[value(name = "2048")]
    Small,
    #[value(name = "3072")]
    Usual,
}

impl KeyBits {
    const fn bits(self) -> u32 {
        match self {
            Self::Small => 2_048,
            Self::Usual => 3_072,
        }
    }
}

fn group(text: &str) -> Result<String> {
    name::group("GROUP", text)
}

/// Enrols, measures, and takes back what was enrolled.
pub async fn run(args: Args, mut session: Session) -> Result<Exit> {
    let buses = line::connect(args.agents as usize)?;
    let prepare = async {
        line::reach(&buses).await?;
        let hosts = keys::hosts(&args).await?;
        Roll::survey(&session.client, hosts, &args.group).await
    };
    let Some(roll) = unless_interrupted(prepare, "left before anything was enrolled").await? else {
        return Ok(Exit::Interrupted);
    };
    let working = work(&args, &session, &roll, buses);
    let outcome = unless_interrupted(working, "left; taking back what was enrolled").await;
    if !args.keep {
        let advice =
            "left in between; run it again with the same --prefix and --keys, or delete the servers that are left";
        unless_interrupted(roll.take_back(&session.client, args.keys.is_none()), advice).await?;
    }
    let Some(figures) = outcome? else { return Ok(Exit::Interrupted) };
    session.show(&figures, Figures::print)?;
    Ok(if figures.all_succeeded() { Exit::Success } else { Exit::Shortfall })
}

async fn work(args: &Args, session: &Session, roll: &Roll, buses: Vec<Bus>) -> Result<Figures> {
    roll.enrol(&session.client).await?;
    let plane = answer::plane_keys(&session.client).await?;
    let mut lines = Lines::start(buses, roll.hosts(), plane).await?;
    measure::measure(args, &session.client, &mut lines).await
}
