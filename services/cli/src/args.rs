//! What can be asked of `muster`. A subcommand is a variant here and a file of the same noun: its
//! arguments and its `run`. Those that talk to a control plane get a session; one that does not
//! talk to any simply does not open it.

use clap::{Parser, Subcommand};
use shared::error::{Error, Kind, Result};

use crate::exit::Exit;
use crate::plane::Plane;
use crate::{
    audit_task, cancel, dead, demo, fleet, health, keys, migrate, results, retry, run, servers, tasks, terminal, up,
    verify,
};

/// Muster keeps a roll of servers, sends signed commands to them and brings back signed results
#[derive(Parser)]
#[command(
    name = "muster",
    version,
    propagate_version = true,
    after_help = "\
Examples:
  muster demo
  muster up
  muster servers
  muster run --group web --timeout 60 -- uptime
  muster --url https://muster.example.org tasks --limit 5

Exit status:
  0    done; `run`: every server succeeded; `verify`, `audit-task`: everything holds
  1    `run`: some server did not succeed, or there was none; `verify`, `audit-task`:
       something does not hold
  2    bad usage, a file that cannot be used, or the control plane refused (4xx)
  3    the control plane cannot be reached or is in trouble (5xx)
  130  `run` was left with Ctrl-C; the task goes on
  141  whoever read the output has gone"
)]
struct Args {
    #[command(flatten)]
    plane: Plane,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Demo(demo::Args),
    Up(up::Args),
    Servers(servers::Args),
    Keys(keys::Args),
    Tasks(tasks::Args),
    Results(results::Args),
    Run(run::Args),
    Cancel(cancel::Args),
    Retry(retry::Args),
    Dead(dead::Args),
    Verify(verify::Args),
    AuditTask(audit_task::Args),
    Health(health::Args),
    Migrate(migrate::Args),
    Fleet(fleet::Args),
}

/// Does what the command line asks, and says in one sentence why not when it cannot.
pub async fn run() -> Exit {
    match dispatch(Args::parse()).await {
        Ok(exit) => exit,
        Err(error) if terminal::reader_left(&error) => Exit::ReaderLeft,
        Err(error) => {
            terminal::complain(&sentence(&error));
            error.kind().into()
        }
    }
}

/// The plane speaks of headers to programs; people are told which option it is here.
fn sentence(error: &Error) -> String {
    let hint = if error.kind() == Kind::Unauthorized { "; set MUSTER_TOKEN, or use --token" } else { "" };
    format!("{}{hint}", error.detail())
}

async fn dispatch(Args { plane, command }: Args) -> Result<Exit> {
    match command {
        Command::Demo(args) => demo::run(args).await,
        Command::Up(args) => up::run(args).await,
        Command::Servers(args) => servers::run(args, plane.open()?).await,
        Command::Keys(args) => keys::run(args, plane.open()?).await,
        Command::Tasks(args) => tasks::run(args, plane.open()?).await,
        Command::Results(args) => results::run(args, plane.open()?).await,
        Command::Run(args) => run::run(args, plane.open()?).await,
        Command::Retry(args) => retry::run(args, plane.open()?).await,
        Command::Cancel(args) => cancel::run(args, plane.open()?).await,
        Command::Dead(args) => dead::run(args, plane.open()?).await,
        Command::Verify(args) => verify::run(args, plane.open()?).await,
        Command::AuditTask(args) => audit_task::run(args, plane.open()?).await,
        Command::Health(args) => health::run(args, plane.open()?).await,
        Command::Migrate(args) => migrate::run(args).await,
        Command::Fleet(args) => fleet::run(args, plane.open()?).await,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;
    use clap::error::ErrorKind;

    use super::*;

    const ID: &str = "0198f2b4c3d27a6e8b1f0c9d5e4a3b21";

    fn refusal(line: &str) -> Option<ErrorKind> {
        Args::try_parse_from(line.replace("ID", ID).split_whitespace()).err().map(|error| error.kind())
    }

    #[test]
    fn the_definition_is_sound() {
        Args::command().debug_assert();
    }

    /// Every command says what it does and shows how; and what it shows is accepted.
    #[test]
    fn every_command_has_a_help_text_and_examples_that_work() {
        let mut commands = vec![Args::command()];
        while let Some(command) = commands.pop() {
            let name = command.get_name().to_owned();
            assert!(command.get_about().is_some_and(|about| !about.to_string().is_empty()), "{name} says nothing");
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let examples: Vec<_> = help.lines().filter(|line| line.starts_with("  muster")).collect();
            assert!(!examples.is_empty(), "{name} has no example");
            for example in examples {
                assert_eq!(refusal(example.trim()), None, "{example}");
            }
            commands.extend(command.get_subcommands().filter(|sub| sub.get_name() != "help").cloned());
        }
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        for line in [
            "muster run -- uptime",
            "muster run --node a --all -- uptime",
            "muster run --all",
            "muster run --all uptime",
            "muster run --all --timeout 0 -- uptime",
            "muster run --all --timeout 86401 -- uptime",
            "muster run --all --max-concurrency 0 -- uptime",
            "muster run --all --max-concurrency 101% -- uptime",
            "muster run --all --max-errors some -- uptime",
            "muster retry",
            "muster servers edit a",
            "muster servers edit a --ip 192.0.2.1 --no-ip",
            "muster servers show ../tasks",
            "muster tasks --limit 0",
            "muster tasks show abc",
            "muster dead show ../tasks",
            "muster dead drop",
            "muster dead drop ID --reason malformed",
            "muster dead list --limit 0",
            "muster verify",
            "muster fleet --agents 0",
            "muster fleet --key-bits 1024",
            "muster verify ID --file evidence.json",
            "muster verify --file evidence.json --save evidence.json",
        ] {
            assert!(refusal(line).is_some(), "{line}");
        }
    }

    #[test]
    fn the_help_never_shows_the_token() {
        let command = Args::command();
        let token = command.get_arguments().find(|arg| arg.get_id() == "token").unwrap();
        assert!(token.is_hide_env_values_set() && token.get_default_values().is_empty());
    }

    #[test]
    fn options_may_stand_behind_the_command() {
        assert_eq!(refusal("muster tasks show ID --json --url http://h"), None);
        assert_eq!(refusal("muster --json tasks show ID"), None);
        assert_eq!(refusal("muster run --all --json -- echo --json"), None);
    }
}
