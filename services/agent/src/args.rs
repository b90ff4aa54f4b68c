//! What can be asked of `muster-agent`, and what its caller learns.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use shared::error::{Error, Kind, Result, chain};
use shared::telemetry;
use tokio::runtime::{Builder, Runtime};

use crate::{doctor, enroll, run};

/// How long dropping what still runs may take at the end.
const END_TIMEOUT: Duration = Duration::from_secs(1);
/// The exit status when a person has to change something before it is worth trying again.
const REFUSED: u8 = 2;

/// Runs on this server the commands that a Muster control plane signed, and signs what came of them
#[derive(Parser)]
#[command(
    name = "muster-agent",
    version,
    propagate_version = true,
    after_help = "\
Examples:
  muster-agent enroll --url https://muster.example.org --token-file /root/token --group web
  muster-agent run
  muster-agent doctor

Settings come from the environment (MUSTER_…) and from the TOML file that MUSTER_CONFIG names.

Exit status:
  0  done
  1  it failed, and may not the next time: the control plane is away, the disk is full; or doctor found
     something wrong
  2  bad usage or settings, not enrolled, or the control plane refused"
)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Enroll(enroll::Args),
    /// Serves until SIGTERM: takes commands from the broker, runs them, hands in their results
    #[command(after_help = "\
Example:
  MUSTER_BROKER_URL_FILE=/etc/muster/broker-url muster-agent run

Settings: MUSTER_BROKER_URL or MUSTER_BROKER_URL_FILE (needed), MUSTER_BROKER_CA_FILE, MUSTER_AGENT_DIR,
MUSTER_POLICY, MUSTER_HOSTNAME, MUSTER_CONFIG; RUST_LOG chooses what is logged.")]
    Run,
    Doctor(doctor::Args),
}

/// The program: does what the command line asks.
pub fn main() -> ExitCode {
    let args = Args::parse();
    // One thread: an agent mostly waits, every server runs one, and what it does takes less than handing it
    // to another thread would. What may block is done on threads for that.
    let outcome = match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => dispatch(args.command, runtime),
        Err(error) => Err(Error::internal(error)),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => status(error.kind()),
    }
}

/// Does it; false when that is done and something is wrong all the same.
fn dispatch(command: Command, runtime: Runtime) -> Result<bool> {
    let outcome = match command {
        Command::Enroll(args) => runtime.block_on(enroll::run(args)).inspect_err(complain).map(|()| true),
        Command::Doctor(args) => runtime.block_on(doctor::run(args)).inspect_err(complain),
        Command::Run => {
            let telemetry = telemetry::init("muster-agent", "info");
            let outcome = runtime.block_on(async {
                let outcome = run::run().await;
                telemetry.flush().await;
                outcome
            });
            outcome.inspect_err(|error| tracing::error!(cause = chain(error), "the agent stopped")).map(|()| true)
        }
    };
    // What still runs is killed by being dropped. A start that hangs in its user's home, on a dead file
    // server, must not hold up the end.
    runtime.shutdown_timeout(END_TIMEOUT);
    outcome
}

/// One line, with the causes: there is no log to look them up in. Some of it comes from whoever
/// answered, so a terminal must find nothing in it to obey.
fn complain(error: &Error) {
    let sentence = plain(&chain(error));
    let hint = if error.kind() == Kind::Unauthorized { "; give it with --token-file or MUSTER_TOKEN" } else { "" };
    // When even standard error is closed there is nobody left to tell.
    _ = writeln!(std::io::stderr(), "muster-agent: {sentence}{hint}");
}

/// Text in one line, without what a terminal would obey or what turns text around.
pub fn plain(text: &str) -> String {
    let turns =
        |c| matches!(c, '\u{61c}' | '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let shown = |c: char| if c.is_control() || turns(c) { c.escape_unicode().to_string() } else { c.to_string() };
    text.chars().map(shown).collect()
}

fn status(kind: Kind) -> ExitCode {
    if kind.is_refusal() { ExitCode::from(REFUSED) } else { ExitCode::FAILURE }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn every_command_says_what_it_does_and_its_examples_are_accepted() {
        Args::command().debug_assert();
        for mut command in std::iter::once(Args::command()).chain(Args::command().get_subcommands().cloned()) {
            assert!(command.get_about().is_some(), "{}", command.get_name());
            let help = command.render_long_help().to_string();
            let examples = help.lines().filter_map(|line| line.find("muster-agent ").map(|at| &line[at..]));
            let examples: Vec<_> = examples.filter(|line| !line.contains('[') && !line.contains('<')).collect();
            assert!(!examples.is_empty(), "{help}");
            for example in examples {
                assert!(Args::try_parse_from(example.split_whitespace()).is_ok(), "{example}");
            }
        }
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        for line in ["", "enrol", "run --url http://h", "enroll --token t --token-file f", "enroll --hostname a/b"] {
            let words = std::iter::once("muster-agent").chain(line.split_whitespace());
            assert!(Args::try_parse_from(words).is_err(), "{line}");
        }
    }
}
