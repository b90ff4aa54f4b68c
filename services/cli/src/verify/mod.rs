//! `muster verify`: checks a task again, from the signed bytes up. The checking needs no control
//! plane, so that nobody has to believe the one that is being checked.

use std::fs;
use std::path::{Path, PathBuf};

use shared::audit::evidence::{self, Finding, Report};
use shared::contract::task::Evidence;
use shared::error::{Error, Result};
use shared::id::TaskId;
use shared::sign::PublicKey;

use crate::document::Document;
use crate::exit::Exit;
use crate::parse;
use crate::plane::Session;
use crate::terminal::Out;

/// Checks the signatures of a task: the command, and each server's result
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  muster verify 0198f2b4c3d27a6e8b1f0c9d5e4a3b21 --save evidence.json
  muster verify --file evidence.json --signing-key plane.pem

Each result must be signed with its server's key, as the evidence names it, and answer this very
command; the server must be among the command's signed targets. Times are not judged. A result that was
removed with its output (see MUSTER_KEEP_OUTPUT_DAYS) cannot be checked, and is named as such.

Exit status: 0 everything holds; 1 something does not; 2 and 3 as for every command.")]
pub struct Args {
    /// The task's id
    #[arg(value_parser = parse::task_id, required_unless_present = "file", conflicts_with = "file")]
    task: Option<TaskId>,
    /// Check evidence that was saved before
    #[arg(long)]
    file: Option<PathBuf>,
    /// Keep the evidence in this file
    #[arg(long, value_name = "FILE", conflicts_with = "file")]
    save: Option<PathBuf>,
    /// The plane's public key as PEM, from a source that you trust
    #[arg(long, value_name = "FILE")]
    signing_key: Option<PathBuf>,
}

/// Gets the evidence, keeps it, checks it.
pub async fn run(args: Args, mut session: Session) -> Result<Exit> {
    let pinned = args.signing_key.as_deref().map(public_key).transpose()?;
    let evidence = evidence(&args, &session).await?;
    if let Some(file) = &args.save {
        fs::write(file, evidence.json()).map_err(|error| unusable(file, "written", &error))?;
    }
    let report = evidence::check(&evidence, pinned.as_ref());
    session.show(&report, print)?;
    Ok(if report.holds { Exit::Success } else { Exit::Shortfall })
}

/// Checks a task of the session's plane; `pinned` is the plane's key from a source that is trusted.
pub async fn of_task(session: &Session, task_id: &str, pinned: Option<&PublicKey>) -> Result<Report> {
    let evidence: Evidence = session.client.get(&format!("/api/tasks/{task_id}/evidence")).await?;
    Ok(evidence::check(&evidence, pinned))
}

async fn evidence(args: &Args, session: &Session) -> Result<Document<Evidence>> {
    match (&args.file, &args.task) {
        (Some(file), _) => saved(file),
        (None, Some(task)) => fetched(task, session).await,
        (None, None) => Err(Error::bad_input("name a task, or a file with --file")),
    }
}

async fn fetched(task: &TaskId, session: &Session) -> Result<Document<Evidence>> {
    let evidence: Document<Evidence> = session.client.get(&format!("/api/tasks/{task}/evidence")).await?;
    if evidence.task_id != task.as_str() {
        return Err(Error::unavailable("the control plane answered with the evidence of another task"));
    }
    Ok(evidence)
}

fn saved(file: &Path) -> Result<Document<Evidence>> {
    let refused = |error: serde_json::Error| Error::bad_input(format!("`{}` is no evidence: {error}", file.display()));
    serde_json::from_str(&read(file)?).map_err(refused)
}

fn public_key(file: &Path) -> Result<PublicKey> {
    let refused = |error: Error| Error::bad_input(format!("`{}` cannot be used: {error}", file.display()));
    PublicKey::from_pem(&read(file)?).map_err(refused)
}

fn read(file: &Path) -> Result<String> {
    fs::read_to_string(file).map_err(|error| unusable(file, "read", &error))
}

fn unusable(file: &Path, what: &str, error: &std::io::Error) -> Error {
    Error::bad_input(format!("`{}` cannot be {what}: {error}", file.display()))
}

fn print(out: &mut Out, report: &Report) -> Result<()> {
    out.line(&format!("command: {}", word(report.command.as_deref())))?;
    report.results.iter().try_for_each(|finding| out.line(&format!("{}: {}", finding.hostname, found(finding))))?;
    if !report.pinned {
        out.line("note: the signing key came with the evidence; name one that you trust with --signing-key")?;
    }
    out.line(&summary(report))
}

fn found(finding: &Finding) -> String {
    match finding {
        Finding { reason: None, removed: true, .. } => {
            "removed with its output; it cannot be checked any more".to_owned()
        }
        Finding { reason, .. } => word(reason.as_deref()),
    }
}

fn word(reason: Option<&str>) -> String {
    reason.map_or_else(|| "ok".to_owned(), |reason| format!("BAD {reason}"))
}

/// What came out, in one line.
pub fn summary(report: &Report) -> String {
    let results = report.results.len();
    let bad = report.results.iter().filter(|finding| finding.reason.is_some()).count();
    let removed = report.results.iter().filter(|finding| finding.removed).count();
    let said = match (&report.command, report.targets) {
        (None, Some(targets)) if report.holds && removed > 0 => {
            format!("what is left of it holds (results: {results}, removed: {removed}, servers: {targets})")
        }
        (None, Some(targets)) if report.holds => format!("everything holds (results: {results}, servers: {targets})"),
        (None, Some(targets)) => format!("it does not hold (bad results: {bad} of {results}, servers: {targets})"),
        _ => "the command does not hold".to_owned(),
    };
    format!("task {}: {said}", report.task_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_removed_is_never_said_to_hold() {
        let finding = |hostname: &str, removed| Finding { hostname: hostname.to_owned(), reason: None, removed };
        let results = vec![finding("a", false), finding("b", true)];
        let report =
            Report { task_id: "t".into(), holds: true, pinned: false, targets: Some(2), command: None, results };
        assert_eq!(summary(&report), "task t: what is left of it holds (results: 2, removed: 1, servers: 2)");
        assert!(found(&report.results[1]).contains("cannot be checked"));
    }
}
