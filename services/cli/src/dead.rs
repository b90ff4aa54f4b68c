//! `muster dead`: what could not be handled, and what shall become of it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Subcommand;
use reqwest::Method;
use shared::clock::Time;
use shared::contract::dead_letter::{DeadLetter, OpenedLetter};
use shared::error::{Kind, Result};
use shared::rules::limits::{DEAD_LETTERS_MAX, PAGE_ROWS_MAX};

use crate::document::Document;
use crate::exit::Exit;
use crate::plane::Session;
use crate::table::{self, or_dash};
use crate::terminal::Out;
use crate::{age, parse};

/// Letters in a list unless told otherwise.
const LETTERS_DEFAULT: u64 = 20;
/// What stands before each line of a letter's own words.
const MARK: &str = "  | ";

/// Lists what could not be handled; shows, replays and drops it
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  muster dead
  muster dead list --reason bad_signature
  muster dead show 5f1c3b0a9d7e46a2b8c4d6e8f0a1b2c3
  muster dead drop --reason malformed")]
pub struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Subcommand)]
enum Verb {
    /// Lists dead letters, the newest first
    #[command(
        after_help = "Examples:\n  muster dead list --limit 100\n  muster dead list --reason unknown_task --json"
    )]
    List(List),
    /// Shows one letter and what it says
    #[command(after_help = "Example:\n  muster dead show 5f1c3b0a9d7e46a2b8c4d6e8f0a1b2c3")]
    Show(Letter),
    /// Puts letters back where they were given up, and so through every check once more
    #[command(after_help = "\
Examples:
  muster dead replay 5f1c3b0a9d7e46a2b8c4d6e8f0a1b2c3
  muster dead replay --reason not_storable")]
    Replay(Letters),
    /// Throws letters away for good
    #[command(after_help = "\
Examples:
  muster dead drop 5f1c3b0a9d7e46a2b8c4d6e8f0a1b2c3
  muster dead drop --reason malformed")]
    Drop(Letters),
}

/// Which letters a list shows.
#[derive(clap::Args)]
struct List {
    /// How many
    #[arg(long, default_value_t = LETTERS_DEFAULT, value_parser = clap::value_parser!(u64).range(1..=PAGE_ROWS_MAX as u64))]
    limit: u64,
    /// Only those that were given up for this reason
    #[arg(long)]
    reason: Option<String>,
}

/// One letter.
#[derive(clap::Args)]
struct Letter {
    /// The letter's id
    #[arg(value_parser = parse::letter_id)]
    letter: String,
}

/// Some letters, or all of a reason.
#[derive(clap::Args)]
struct Letters {
    /// The letters' ids
    #[arg(value_parser = parse::letter_id, required_unless_present = "reason", conflicts_with = "reason")]
    letters: Vec<String>,
    /// All that were given up for this reason
    #[arg(long)]
    reason: Option<String>,
}

/// Does what is asked.
pub async fn run(args: Args, session: Session) -> Result<Exit> {
    match args.verb {
        None => list(List { limit: LETTERS_DEFAULT, reason: None }, session).await,
        Some(Verb::List(args)) => list(args, session).await,
        Some(Verb::Show(args)) => show(args, session).await,
        Some(Verb::Replay(args)) => decide(args, Act::Replay, session).await,
        Some(Verb::Drop(args)) => decide(args, Act::Drop, session).await,
    }
}

async fn list(args: List, mut session: Session) -> Result<Exit> {
    let limit = args.limit.to_string();
    let mut query = vec![("limit", limit.as_str())];
    query.extend(args.reason.as_deref().map(|reason| ("reason", reason)));
    let letters: Vec<Document<DeadLetter>> = session.client.get_with("/api/dead", &query).await?;
    let header = ["LETTER", "REASON", "KIND", "HOSTNAME", "TASK", "TIMES", "LAST"];
    let now = session.now;
    session.show(&letters, |out, letters| table::show(out, header, letters.iter().map(|letter| row(letter, now))))
}

fn row(letter: &DeadLetter, now: Time) -> [String; 7] {
    [
        letter.id.clone(),
        letter.reason.clone(),
        or_dash(letter.kind.as_ref()),
        claimed(letter.hostname.as_ref(), letter.verified),
        claimed(letter.task_id.as_ref(), letter.verified),
        letter.times.to_string(),
        age::ago(letter.last_at, now),
    ]
}

/// What nobody signed is somebody's word and no more, hence the question mark.
fn claimed(text: Option<&String>, verified: bool) -> String {
    or_dash(text.map(|text| format!("{text}{}", if verified { "" } else { "?" })))
}

async fn show(args: Letter, mut session: Session) -> Result<Exit> {
    let letter: Document<OpenedLetter> = session.client.get(&format!("/api/dead/{}", args.letter)).await?;
    let now = session.now;
    session.show(&letter, |out, opened| {
        details(out, &opened.letter, now)?;
        let raw = || String::from_utf8_lossy(&STANDARD.decode(&opened.body_base64).unwrap_or_default()).into_owned();
        let (what, text) = match &opened.payload {
            Some(payload) => ("it says", payload.clone()),
            None => ("it is no envelope; its bytes, as text", raw()),
        };
        out.line("")?;
        out.line(&format!("{what}{}:", if opened.truncated { " (shortened)" } else { "" }))?;
        out.quote(MARK, &text)
    })
}

fn details(out: &mut Out, letter: &DeadLetter, now: Time) -> Result<()> {
    let signed = if letter.verified { "yes" } else { "no: the server and the task below are mere claims" };
    let replay = letter.replay_requested_at.map(|at| format!("asked for {}", age::ago(at, now)));
    table::pairs(
        out,
        &[
            ("letter", letter.id.clone()),
            ("reason", letter.reason.clone()),
            ("detail", or_dash(letter.detail.as_ref())),
            ("signature holds", signed.to_owned()),
            ("kind", or_dash(letter.kind.as_ref())),
            ("hostname", or_dash(letter.hostname.as_ref())),
            ("task", or_dash(letter.task_id.as_ref())),
            ("given up in", letter.queue.clone()),
            ("size", format!("{} bytes", letter.size)),
            ("came", format!("{} times, first {}", letter.times, age::ago(letter.first_at, now))),
            ("last", format!("{} ({})", letter.last_at, age::ago(letter.last_at, now))),
            ("replay", or_dash(replay)),
            ("trace", or_dash(letter.trace_id.as_ref())),
        ],
    )
}

/// What can be done with a letter.
#[derive(Clone, Copy)]
enum Act {
    Replay,
    Drop,
}

impl Act {
    async fn perform(self, id: &str, session: &Session) -> Result<()> {
        match self {
            Self::Replay => session.client.act(Method::POST, &format!("/api/dead/{id}/replay")).await,
            Self::Drop => session.client.act(Method::DELETE, &format!("/api/dead/{id}")).await,
        }
    }

    const fn done(self) -> &'static str {
        match self {
            Self::Replay => "dead letters on their way back",
            Self::Drop => "dead letters dropped",
        }
    }
}

async fn decide(which: Letters, act: Act, mut session: Session) -> Result<Exit> {
    let ids = match &which.reason {
        Some(reason) => of_reason(reason, &session).await?,
        None => which.letters,
    };
    let mut done = 0;
    for id in &ids {
        match act.perform(id, &session).await {
            // Of those that were listed some may have gone meanwhile; one that was named must be there.
            Err(error) if which.reason.is_some() && error.kind() == Kind::NotFound => (),
            outcome => {
                outcome?;
                done += 1;
            }
        }
    }
    session.done(&format!("{}: {done}", act.done()))
}

/// All that were given up for a reason: never more than are kept.
async fn of_reason(reason: &str, session: &Session) -> Result<Vec<String>> {
    let letters: Vec<DeadLetter> = session.client.get_with("/api/dead", &[("reason", reason)]).await?;
    Ok(letters.into_iter().take(DEAD_LETTERS_MAX).map(|letter| letter.id).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terminal::tests::Paper;

    fn letter(hostname: &str, verified: bool) -> DeadLetter {
        DeadLetter {
            id: "5".repeat(32),
            reason: "bad_signature".to_owned(),
            detail: Some("\u{1b}[2J".to_owned()),
            queue: "muster.results".to_owned(),
            kind: Some("result".to_owned()),
            hostname: Some(hostname.to_owned()),
            task_id: None,
            verified,
            size: 10,
            kept: 10,
            times: 3,
            first_at: Time(0),
            last_at: Time(1_000),
            replay_requested_at: None,
            trace_id: None,
        }
    }

    #[test]
    fn a_claim_is_told_from_what_is_known() {
        assert_eq!(row(&letter("web-1", false), Time(2_000))[3], "web-1?");
        assert_eq!(row(&letter("web-1", true), Time(2_000))[3], "web-1");
        assert_eq!(row(&letter("web-1", true), Time(2_000))[4], "-");
    }

    #[test]
    fn nothing_that_a_forger_wrote_reaches_a_terminal() {
        let paper = Paper::default();
        details(&mut paper.out(true), &letter("a\u{1b}]0;x\u{7}\nb", false), Time(2_000)).unwrap();
        let shown = paper.read();
        assert!(!shown.contains(['\u{1b}', '\u{7}']) && shown.contains("mere claims"), "{shown}");
    }
}
