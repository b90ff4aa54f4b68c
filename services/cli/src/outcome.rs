//! What came of a task on one server, for people. The server's name starts a line, and what its
//! command printed stands behind a mark: `|` standard output, `!` standard error. So no command can
//! print a line that reads as another server's result.

use shared::clock::Time;
use shared::contract::task::{Invocation, TaskResult};
use shared::error::Result;

use crate::terminal::Out;
use crate::why::why;

/// How the marks are explained in help texts.
pub const MARKS: &str = "Output stands behind a mark: `|` standard output, `!` standard error.";

/// Prints it.
pub fn show(out: &mut Out, invocation: &Invocation, result: Option<&TaskResult>, now: Time) -> Result<()> {
    out.line(&headline(invocation, result, now))?;
    let Some(result) = result else { return Ok(()) };
    out.quote("  | ", &result.stdout)?;
    out.quote("  ! ", &result.stderr)?;
    if result.output_removed {
        return out.line("  (its output was removed, because it was older than outputs are kept)");
    }
    if result.truncated {
        let (stdout, stderr) = (result.stdout_bytes, result.stderr_bytes);
        out.line(&format!(
            "  (shortened; the command wrote {stdout} bytes to standard output, {stderr} to standard error)"
        ))?;
    }
    Ok(())
}

/// `web-1: failed, exit 1: the reason`.
fn headline(invocation: &Invocation, result: Option<&TaskResult>, now: Time) -> String {
    let mut line = format!("{}: {}", invocation.hostname, words(invocation.status.as_str()));
    if let Some(code) = result.map(|result| result.exit_code).or(invocation.exit_code) {
        line.push_str(&format!(", exit {code}"));
    }
    if let Some(signal) = result.and_then(|result| result.signal) {
        line.push_str(&format!(", signal {signal}"));
    }
    match why(invocation, now) {
        why if why.is_empty() => line,
        why => format!("{line}: {why}"),
    }
}

/// A state's name as people write it.
pub fn words(status: &str) -> String {
    status.replace('_', " ")
}

#[cfg(test)]
pub mod tests {
    use shared::rules::invocation::Status;

    use super::*;

    /// An invocation that was queued at 0.
    pub fn invocation(hostname: &str, status: Status) -> Invocation {
        Invocation {
            task_id: "t".to_owned(),
            hostname: hostname.to_owned(),
            status,
            reason: None,
            exit_code: None,
            wave: Some(1),
            deadline: Time(0),
            attempts: 0,
            queued_at: Time(0),
            sent_at: None,
            accepted_at: None,
            running_at: None,
            provisional_status: None,
            provisional_at: None,
            finished_at: None,
        }
    }

    #[test]
    fn a_headline_says_state_code_and_reason() {
        let ended = Invocation { exit_code: Some(124), ..invocation("web-1", Status::TimedOut) };
        assert_eq!(headline(&ended, None, Time(0)), "web-1: timed out, exit 124");
        let refused = Invocation {
            reason: Some("not allowed".to_owned()),
            exit_code: Some(126),
            ..invocation("b", Status::Rejected)
        };
        assert_eq!(headline(&refused, None, Time(0)), "b: rejected, exit 126: not allowed");
    }
}
