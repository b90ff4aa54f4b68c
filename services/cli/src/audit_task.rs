//! `muster audit-task`: whether what Muster promises of a task was kept. It asks nothing of the plane
//! but what everybody can read, and does the sums and the signatures again.

use shared::audit::{Check, Record, Report, Source};
use shared::error::Result;
use shared::id::TaskId;

use crate::exit::Exit;
use crate::parse;
use crate::plane::Session;
use crate::terminal::Out;

/// Checks what was promised of a task: every server accounted for, nothing twice, nothing unsigned
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  muster audit-task 0198f2b4c3d27a6e8b1f0c9d5e4a3b21
  muster audit-task 0198f2b4c3d27a6e8b1f0c9d5e4a3b21 --json

A task that is still at work can be checked too: what may be open by its deadline is no fault. How
often a command really ran only the command itself can count; this is said where it matters.

Exit status: 0 every promise was kept; 1 one was not; 2 and 3 as for every command.")]
pub struct Args {
    /// The task's id
    #[arg(value_parser = parse::task_id)]
    task: TaskId,
}

/// Reads everything, checks it, and says what was checked.
pub async fn run(args: Args, mut session: Session) -> Result<Exit> {
    let record = Record::collect(Source::Http(&session.client), args.task.as_str()).await?;
    let report = Report::of(&record, None, session.now);
    session.show(&report, print)?;
    Ok(if report.holds { Exit::Success } else { Exit::Shortfall })
}

fn print(out: &mut Out, report: &Report) -> Result<()> {
    report.checks.iter().try_for_each(|check| line(out, check))?;
    out.line(&summary(report))
}

fn line(out: &mut Out, check: &Check) -> Result<()> {
    let word = if check.violations.is_empty() { "ok " } else { "BAD" };
    let note = check.unchecked.map(|why| format!(" ({why})")).unwrap_or_default();
    out.line(&format!("{word} {}{note}", check.promise))?;
    check.violations.iter().try_for_each(|violation| {
        let host = violation.hostname.as_ref().map(|hostname| format!("{hostname}: ")).unwrap_or_default();
        out.line(&format!("    {host}{}", violation.what))
    })
}

fn summary(report: &Report) -> String {
    let faults: usize = report.checks.iter().map(|check| check.violations.len()).sum();
    let said = match (report.holds, report.is_final) {
        (true, true) => "every promise was kept".to_owned(),
        (true, false) => "every promise was kept so far; it is not final yet".to_owned(),
        (false, _) => format!("promises were not kept (faults: {faults})"),
    };
    format!("task {}: {said} (servers: {})", report.task_id, report.targets)
}

#[cfg(test)]
mod tests {
    use shared::audit::{Invariant, Violation};

    use super::*;
    use crate::terminal::tests::Paper;

    fn printed(report: &Report) -> String {
        let paper = Paper::default();
        let mut out = paper.out(false);
        print(&mut out, report).unwrap();
        paper.read()
    }

    fn report(violations: Vec<Violation>) -> Report {
        let invariant = Invariant::I1;
        let holds = violations.is_empty();
        let checks = vec![Check { invariant, promise: invariant.words(), unchecked: None, violations }];
        Report { task_id: "t".to_owned(), holds, targets: 2, is_final: false, checks }
    }

    #[test]
    fn it_says_what_was_checked_and_where_it_does_not_hold() {
        assert!(printed(&report(Vec::new())).contains("so far"));
        let hostname = Some("web-1".to_owned());
        let broken =
            Violation { invariant: Invariant::I1, task_id: None, hostname, what: "it is open\u{1b}".to_owned() };
        let said = printed(&report(vec![broken]));
        assert!(said.contains("BAD every server") && said.contains("    web-1: it is open\\u001b"), "{said}");
        assert!(said.ends_with("task t: promises were not kept (faults: 1) (servers: 2)\n"), "{said}");
    }
}
