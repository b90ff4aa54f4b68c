//! `muster-agent doctor`: what is wrong on this server, a line for each thing that it looks at, with what
//! to do. It changes nothing and disturbs no agent that runs: the journal is opened for reading, the
//! lock is looked up and not taken, the queue is asked after and not consumed.

mod broker;
mod host;
mod journal;
mod plane;

use std::io::Write as _;

use serde::Serialize;
use shared::bus::topology;
use shared::clock::Clock;
use shared::config::{Source, key};
use shared::error::{Error, Result, chain};
use shared::name::Hostname;

use crate::args::plain;
use crate::config::folder;
use crate::enrolment;

/// Looks for what is wrong on this server, and says what to do
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  muster-agent doctor
  MUSTER_CONFIG=/etc/muster/agent.toml muster-agent doctor --json

Run it as the agent's own user, with the settings that the agent has; with those of enroll (MUSTER_URL,
MUSTER_TOKEN_FILE, MUSTER_CA_FILE) it compares the keys and the clock with the control plane's too.
A running agent is not disturbed.

Exit status: 0 when nothing is wrong, 1 when something is.")]
pub struct Args {
    /// Print one JSON document instead of lines
    #[arg(long)]
    json: bool,
}

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Ok,
    /// Worth knowing, and no reason to act.
    Note,
    Wrong,
}

/// What one check found.
#[derive(Clone, Debug, Serialize)]
struct Finding {
    check: &'static str,
    verdict: Verdict,
    /// What is so, and if it is wrong, what to do.
    detail: String,
}

impl Finding {
    fn ok(check: &'static str, detail: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Ok, detail: detail.into() }
    }

    fn note(check: &'static str, detail: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Note, detail: detail.into() }
    }

    fn wrong(check: &'static str, detail: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Wrong, detail: detail.into() }
    }

    fn of(check: &'static str, found: Result<String>) -> Self {
        found.map_or_else(|error| Self::wrong(check, chain(&error)), |detail| Self::ok(check, detail))
    }
}

/// Looks at everything; false when something is wrong.
pub async fn run(args: Args) -> Result<bool> {
    let findings = match Source::load() {
        Ok(source) => examine(&source).await,
        Err(error) => vec![Finding::wrong("settings", chain(&error))],
    };
    let is_well = findings.iter().all(|finding| finding.verdict != Verdict::Wrong);
    tell(&findings, args.json)?;
    Ok(is_well)
}

async fn examine(source: &Source) -> Vec<Finding> {
    let (folder, now) = (folder(source), Clock::System.now());
    let hostname = enrolment::hostname(&folder, source.get(key::HOSTNAME));
    let mut findings = vec![
        host::settings(source, hostname.as_ref()),
        host::folder(&folder),
        host::space(&folder),
        host::agent(&folder),
        host::key(&folder),
        journal::look(&folder, now).await,
        host::policy(source),
        host::accounts(),
        host::cgroups(&folder),
    ];
    if let Ok(hostname) = &hostname {
        findings.push(broker::look(source, &topology::agent_queue(hostname.as_str())).await);
        findings.extend(plane::look(source, &folder, hostname, now).await);
    }
    findings
}

/// Says it. Much of it was written by others, so a terminal finds nothing in it to obey.
fn tell(findings: &[Finding], as_json: bool) -> Result<()> {
    let text = if as_json {
        let is_well = findings.iter().all(|finding| finding.verdict != Verdict::Wrong);
        plain(&serde_json::json!({ "ok": is_well, "checks": findings }).to_string()) + "\n"
    } else {
        let word = |verdict| match verdict {
            Verdict::Ok => "ok   ",
            Verdict::Note => "note ",
            Verdict::Wrong => "WRONG",
        };
        let line = |one: &Finding| format!("{} {:<9} {}\n", word(one.verdict), one.check, plain(&one.detail));
        findings.iter().map(line).collect()
    };
    std::io::stdout().write_all(text.as_bytes()).map_err(Error::internal)
}

/// The name that commands come for, as far as it can be told.
fn shown(hostname: Result<&Hostname, &Error>) -> Result<String> {
    match hostname {
        Ok(hostname) => Ok(hostname.to_string()),
        Err(error) => Err(Error::bad_input(error.detail())),
    }
}
