//! Which runs of an agent have been heard of, and what they say about its identity. Thought only.
//!
//! A run has a name (`boot_id`) that sorts after those of the runs before, and counts its heartbeats.
//! Two runs are remembered: the one that spoke last, and the greatest besides it. So a replay never
//! counts, and yet a server whose run sorts before an earlier one is heard: its clock was ahead once,
//! or its disk was put back. For such a run the heartbeat must be fresh by the plane's clock, since
//! what is not remembered of the past could be replayed.
//!
//! A single agent's runs follow each other. One that speaks again after another began is a *turn*; a
//! late message makes one, two living agents with one identity make one with every heartbeat. A run
//! whose journal does not know the run that spoke before is a *fork*: a copy of the disk went on by
//! itself, or an older state of it was put back.

use std::time::Duration;

use shared::clock::Time;
use shared::contract::signed::Heartbeat;
use shared::rules::limits::{CLONE_TURNS_MIN, CLONE_TURNS_WITHIN};
use shared::sign::{Authentic, Refusal, Verified};
use shared::store::server::{Earlier, Known, Run};

/// How far apart the plane's clock and that of a heartbeat may be which comes from a run that sorts
/// before another one: as long as a heartbeat may wait in its queue.
const FRESH: Duration = shared::rules::limits::HEARTBEAT_TTL;

/// What a heartbeat showed besides presence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// A run spoke again after another one did.
    Turn,
    /// So often that two agents must share this identity.
    Clone,
    /// A new run does not know the one before it.
    Fork,
}

impl Sign {
    /// Its name in counters.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Turn => "turn",
            Self::Clone => "clone",
            Self::Fork => "fork",
        }
    }
}

/// Lets a heartbeat count, or refuses it as a replay. `known` is then what is known with it.
pub fn hear(
    known: &mut Known,
    beat: Authentic<Heartbeat>,
    now: Time,
) -> Result<(Verified<Heartbeat>, Vec<Sign>), Refusal> {
    let body = beat.body();
    let Some(last) = known.run.clone() else { return count(known, beat, None, now) };
    if body.boot_id == last.boot_id {
        return count(known, beat, Some(&last), now);
    }
    let earlier = known.earlier.clone().filter(|earlier| earlier.run.boot_id == body.boot_id);
    let is_newest =
        body.boot_id > last.boot_id && known.earlier.as_ref().is_none_or(|earlier| body.boot_id > earlier.run.boot_id);
    if !is_newest && !is_fresh(body.sent_at, now) {
        return Err(Refusal::Replayed);
    }
    count(known, beat, earlier.map(|earlier| earlier.run).as_ref(), now)
}

fn is_fresh(sent_at: Time, now: Time) -> bool {
    sent_at.until(now) <= FRESH && now.until(sent_at) <= FRESH
}

/// Counts it if it is newer than what is known of its own run.
fn count(
    known: &mut Known,
    beat: Authentic<Heartbeat>,
    own: Option<&Run>,
    now: Time,
) -> Result<(Verified<Heartbeat>, Vec<Sign>), Refusal> {
    let previous = beat.body().previous_boot_id.clone();
    let beat = beat.newer_than(own.map(|run| (run.boot_id.as_str(), run.counter)))?;
    let run = Run { boot_id: beat.body().boot_id.clone(), counter: beat.body().counter };
    let Some(last) = known.run.replace(run.clone()).filter(|last| last.boot_id != run.boot_id) else {
        return Ok((beat, Vec::new()));
    };
    let mut earlier = known.earlier.take().unwrap_or_else(|| Earlier::of(last.clone()));
    let turned = run.boot_id < last.boot_id || own.is_some();
    let forked = own.is_none() && previous.is_some_and(|previous| previous < last.boot_id);
    if earlier.run.boot_id == run.boot_id || earlier.run.boot_id < last.boot_id {
        earlier.run = last;
    }
    let mut signs = Vec::new();
    if turned {
        let goes_on = now <= earlier.turned_at.plus(CLONE_TURNS_WITHIN);
        earlier.turns = if goes_on { earlier.turns.saturating_add(1) } else { 1 };
        earlier.turned_at = now;
        signs.push(if earlier.turns == CLONE_TURNS_MIN { Sign::Clone } else { Sign::Turn });
    }
    if forked {
        earlier.forked_at = Some(now);
        signs.push(Sign::Fork);
    }
    known.earlier = Some(earlier);
    Ok((beat, signs))
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;

    use shared::contract::key::Algorithm;
    use shared::contract::signed::Kind;
    use shared::sign::{Envelope, KeyState, Sealed, SigningKey, TrustedKey};

    use super::*;

    const NOW: Time = Time(1_700_000_000_000);

    /// A signed heartbeat of the run `boot_id`, which knows the run `previous`, sent `ago` before [`NOW`].
    fn beat(boot_id: &str, previous: Option<&str>, counter: u64, ago: Duration) -> Authentic<Heartbeat> {
        static KEY: OnceLock<SigningKey> = OnceLock::new();
        let key = KEY.get_or_init(|| SigningKey::generate_small().unwrap());
        let body = Heartbeat {
            iss: "a".into(),
            boot_id: boot_id.into(),
            previous_boot_id: previous.map(str::to_owned),
            counter,
            sent_at: Time(NOW.0 - i64::try_from(ago.as_millis()).unwrap()),
            cpu_usage: 0.0,
            memory_usage: 0.0,
            agent_version: "1".into(),
            running: 0,
            spooled: 0,
            trouble: None,
        };
        let sealed = Envelope::sign(Kind::Heartbeat, serde_json::to_vec(&body).unwrap(), key).unwrap().to_json();
        let (key, algorithm) = (key.public().clone(), Algorithm::PS256);
        let trusted = TrustedKey { owner: "a".into(), key, algorithm, state: KeyState::Active };
        Sealed::parse(sealed.as_bytes(), &[Kind::Heartbeat]).unwrap().open(Some(&trusted), NOW).unwrap()
    }

    fn said(known: &mut Known, boot_id: &str, previous: Option<&str>, counter: u64) -> Result<Vec<Sign>, Refusal> {
        hear(known, beat(boot_id, previous, counter, Duration::ZERO), NOW).map(|(_, signs)| signs)
    }

    fn old(known: &mut Known, boot_id: &str, counter: u64) -> Result<Vec<Sign>, Refusal> {
        hear(known, beat(boot_id, None, counter, FRESH * 2), NOW).map(|(_, signs)| signs)
    }

    #[test]
    fn one_agent_restarted_shows_nothing_and_replays_never_count() {
        let mut known = Known::default();
        for (boot_id, previous) in [("1", None), ("2", Some("1")), ("3", Some("2")), ("5", Some("4"))] {
            for counter in [1, 2, 7] {
                assert_eq!(said(&mut known, boot_id, previous, counter), Ok(vec![]), "{boot_id} {counter}");
            }
            for counter in [1, 7] {
                assert_eq!(said(&mut known, boot_id, previous, counter), Err(Refusal::Replayed));
            }
        }
        for boot_id in ["1", "2", "3"] {
            assert_eq!(old(&mut known, boot_id, 9), Err(Refusal::Replayed), "run {boot_id}");
        }
        assert_eq!(said(&mut known, "3", None, 7), Err(Refusal::Replayed), "not even a fresh one");
    }

    #[test]
    fn a_server_that_was_ahead_once_is_heard_again() {
        let mut known = Known::default();
        said(&mut known, "9", None, 5).unwrap();
        assert_eq!(old(&mut known, "2", 1), Err(Refusal::Replayed));
        assert_eq!(said(&mut known, "2", None, 1), Ok(vec![Sign::Turn]));
        assert_eq!(said(&mut known, "2", None, 2), Ok(vec![]));
        assert_eq!(said(&mut known, "3", Some("2"), 1), Ok(vec![]), "and its next run too");
        assert_eq!(old(&mut known, "9", 6), Err(Refusal::Replayed), "what was greatest stays known");
        assert_eq!(said(&mut known, "9", None, 5), Err(Refusal::Replayed));
        assert_eq!(old(&mut known, "8", 1), Err(Refusal::Replayed));
    }

    #[test]
    fn a_late_message_is_no_clone_and_two_agents_are() {
        let mut known = Known::default();
        said(&mut known, "1", None, 1).unwrap();
        assert_eq!(said(&mut known, "2", Some("1"), 1), Ok(vec![]));
        assert_eq!(said(&mut known, "1", None, 2), Ok(vec![Sign::Turn]));
        assert_eq!(said(&mut known, "2", Some("1"), 2), Ok(vec![Sign::Turn]));
        assert!(!known.is_cloned(NOW));
        for counter in 3.. {
            let one = said(&mut known, "1", None, counter).unwrap();
            let other = said(&mut known, "2", Some("1"), counter).unwrap();
            if one.contains(&Sign::Clone) || other.contains(&Sign::Clone) {
                break;
            }
            assert!(counter < 10, "it must be noticed");
        }
        assert!(known.is_cloned(NOW) && !known.is_cloned(NOW.plus(CLONE_TURNS_WITHIN * 2)));
    }

    #[test]
    fn a_journal_that_was_put_back_does_not_know_the_run_before() {
        let mut known = Known::default();
        said(&mut known, "1", None, 1).unwrap();
        said(&mut known, "2", Some("1"), 1).unwrap();
        assert_eq!(said(&mut known, "4", Some("1"), 1), Ok(vec![Sign::Fork]));
        assert_eq!(said(&mut known, "5", Some("4"), 1), Ok(vec![]));
        assert!(known.earlier.unwrap().forked_at.is_some(), "it stays written down");
    }
}
