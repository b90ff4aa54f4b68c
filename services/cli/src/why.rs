//! Why an invocation is where it is, in plain words. "It hangs" is no answer: what is still open
//! waits for the broker, for its server, for a place, or for the command itself, and the timeline
//! tells which.

use shared::clock::Time;
use shared::contract::task::Invocation;
use shared::rules::invocation::Status;

use crate::age::span;

/// The words; empty where the status says it all.
pub fn why(invocation: &Invocation, now: Time) -> String {
    let known = match invocation.status {
        Status::Queued if invocation.wave.is_none() && invocation.reason.is_some() => String::new(), // held: the reason says it
        Status::Queued if invocation.attempts == 0 => format!("waits to be sent, for {}", since(invocation, now)),
        Status::Queued => {
            format!("sending was tried {} times, and the broker has not confirmed it", invocation.attempts)
        }
        Status::Sent => {
            format!("waits in the broker for its server, for {}; is the agent running?", since(invocation, now))
        }
        Status::Accepted => format!("the agent has had it for {} and not started it yet", since(invocation, now)),
        Status::Running => format!("has been running for {}", since(invocation, now)),
        Status::Expired => "nobody reported before its time was over; a late result still counts".to_owned(),
        Status::Lost => "it had started, and no result came in time; a late result still counts".to_owned(),
        Status::Undeliverable => "the broker has no queue for its server; is it on the roll?".to_owned(),
        _ => String::new(),
    };
    match &invocation.reason {
        Some(reason) if known.is_empty() => reason.clone(),
        Some(reason) => format!("{known} ({reason})"),
        None => known,
    }
}

/// How long it has been where it is. A step may have been skipped: a late one says it all.
fn since(invocation: &Invocation, now: Time) -> String {
    let entered = match invocation.status {
        Status::Sent => invocation.sent_at,
        Status::Accepted => invocation.accepted_at,
        Status::Running => invocation.running_at,
        _ => None,
    };
    span(entered.unwrap_or(invocation.queued_at).until(now))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::tests::invocation;

    #[test]
    fn every_open_or_guessed_state_has_its_words() {
        let now = Time(10_000);
        for status in Status::ALL {
            let words = why(&invocation("a", status), now);
            assert_eq!(words.is_empty(), !status.is_open() && !status.is_provisional(), "{words}");
        }
    }

    #[test]
    fn a_reason_is_never_lost() {
        for status in Status::ALL {
            let invocation = Invocation { reason: Some("disk full".to_owned()), ..invocation("a", status) };
            assert!(why(&invocation, Time(0)).contains("disk full"), "{status:?}");
        }
    }

    #[test]
    fn what_is_held_back_does_not_wait_for_the_broker() {
        let reason = Some("held back until earlier servers are done".to_owned());
        let held = Invocation { wave: None, reason: reason.clone(), ..invocation("a", Status::Queued) };
        assert_eq!(Some(why(&held, Time(10_000))), reason);
    }

    #[test]
    fn how_long_counts_from_the_state_it_is_in() {
        let running = Invocation { running_at: Some(Time(6_000)), ..invocation("a", Status::Running) };
        assert_eq!(why(&running, Time(10_000)), "has been running for 4s");
        let tried = Invocation { attempts: 3, ..invocation("a", Status::Queued) };
        assert!(why(&tried, Time(10_000)).contains("3 times"));
    }
}
