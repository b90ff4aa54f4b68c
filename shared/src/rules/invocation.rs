//! The life of one task on one server.
//!
//! A state has a rank, and a state only ever moves to a higher rank. Whatever the order in which
//! reports arrive, and however often, the highest one wins; so duplicates and reordering cannot
//! change the outcome. Rank 4 is the plane's guess (`provisional`); rank 5 is what the agent
//! signed, or what the plane itself decided before anything was sent. A guess yields to evidence.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Time;

/// Grace after `expires_at` before an unreported invocation counts as expired.
pub const EXPIRY_GRACE: Duration = Duration::from_secs(90);
/// Grace beyond a command's own timeout before a running invocation counts as lost.
pub const RUNNING_GRACE: Duration = Duration::from_secs(310);
/// Grace beyond expiry and timeout: after it every invocation is decided.
pub const DEADLINE_GRACE: Duration = Duration::from_secs(400);

/// Where an invocation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Stored, on its way to the broker.
    Queued,
    /// The broker has it.
    Sent,
    /// The agent has it.
    Accepted,
    /// The command runs.
    Running,
    /// Nobody reported before its time was over (provisional).
    Expired,
    /// It was running, and no result came in time (provisional).
    Lost,
    /// The broker has no queue for it (provisional).
    Undeliverable,
    /// Exit status 0.
    Succeeded,
    /// Another exit status, or a signal.
    Failed,
    /// Killed because it ran longer than allowed.
    TimedOut,
    /// Cancelled, before or while it ran.
    Cancelled,
    /// The agent refused it.
    Rejected,
    /// The agent stopped while it ran; it was not run again.
    Interrupted,
    /// Its wave was given up before it was sent.
    Skipped,
}

impl Status {
    /// Every state, in the order in which counts are stored.
    pub const ALL: [Self; 14] = [
        Self::Queued,
        Self::Sent,
        Self::Accepted,
        Self::Running,
        Self::Expired,
        Self::Lost,
        Self::Undeliverable,
        Self::Succeeded,
        Self::Failed,
        Self::TimedOut,
        Self::Cancelled,
        Self::Rejected,
        Self::Interrupted,
        Self::Skipped,
    ];

    /// The rank; only a higher one may follow.
    pub const fn rank(self) -> u8 {
        match self {
            Self::Queued => 0,
            Self::Sent => 1,
            Self::Accepted => 2,
            Self::Running => 3,
            Self::Expired | Self::Lost | Self::Undeliverable => 4,
            _ => 5,
        }
    }

    /// No end is known yet.
    pub const fn is_open(self) -> bool {
        self.rank() < 4
    }

    /// The plane's own guess, which a signed result overrules.
    pub const fn is_provisional(self) -> bool {
        self.rank() == 4
    }

    /// The word on the wire and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Sent => "sent",
            Self::Accepted => "accepted",
            Self::Running => "running",
            Self::Expired => "expired",
            Self::Lost => "lost",
            Self::Undeliverable => "undeliverable",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::Cancelled => "cancelled",
            Self::Rejected => "rejected",
            Self::Interrupted => "interrupted",
            Self::Skipped => "skipped",
        }
    }

    /// Reads the word; `None` for any other text.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }
}

/// What a signed result may claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// Exit status 0.
    Succeeded,
    /// Another exit status, or a signal.
    Failed,
    /// Killed because it ran longer than allowed.
    TimedOut,
    /// Cancelled, before or while it ran.
    Cancelled,
    /// Refused by the agent.
    Rejected,
    /// The agent stopped while it ran.
    Interrupted,
}

impl From<Ending> for Status {
    fn from(ending: Ending) -> Self {
        match ending {
            Ending::Succeeded => Self::Succeeded,
            Ending::Failed => Self::Failed,
            Ending::TimedOut => Self::TimedOut,
            Ending::Cancelled => Self::Cancelled,
            Ending::Rejected => Self::Rejected,
            Ending::Interrupted => Self::Interrupted,
        }
    }
}

impl TryFrom<Status> for Ending {
    type Error = ();

    fn try_from(status: Status) -> Result<Self, ()> {
        match status {
            Status::Succeeded => Ok(Self::Succeeded),
            Status::Failed => Ok(Self::Failed),
            Status::TimedOut => Ok(Self::TimedOut),
            Status::Cancelled => Ok(Self::Cancelled),
            Status::Rejected => Ok(Self::Rejected),
            Status::Interrupted => Ok(Self::Interrupted),
            _ => Err(()),
        }
    }
}

/// What can happen to an invocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// The broker confirmed the message.
    Confirmed,
    /// The broker has no queue for it, and declaring one did not help.
    Returned,
    /// The agent reported that it has the command.
    Accepted,
    /// The agent reported that the command runs.
    Running,
    /// The agent's signed result.
    Result(Ending),
    /// Its time is over and nobody reported.
    TimeOver,
    /// It should have reported by now.
    Overdue,
    /// The plane takes it back before it was ever sent.
    Withdrawn,
    /// The plane gives up its wave before it was ever sent.
    Skipped,
}

/// The state after `event`, or `None` when the event changes nothing.
pub fn next(from: Status, event: Event) -> Option<Status> {
    let to = match (event, from) {
        (Event::Confirmed, _) => Status::Sent,
        (Event::Accepted, _) => Status::Accepted,
        (Event::Running, _) => Status::Running,
        (Event::Result(ending), _) => ending.into(),
        (Event::Returned, Status::Queued) => Status::Undeliverable,
        (Event::TimeOver, Status::Queued | Status::Sent) => Status::Expired,
        (Event::Overdue, Status::Accepted | Status::Running) => Status::Lost,
        (Event::Withdrawn, Status::Queued) => Status::Cancelled,
        (Event::Skipped, Status::Queued) => Status::Skipped,
        _ => return None,
    };
    (to.rank() > from.rank()).then_some(to)
}

/// The times of a task that its invocations' deadlines follow from.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// Nothing starts after this.
    pub expires_at: Time,
    /// How long the command may run.
    pub timeout: Duration,
}

impl Times {
    /// From what is stored: milliseconds since 1970, and seconds.
    pub fn new(expires_at: i64, timeout: i64) -> Self {
        Self { expires_at: Time(expires_at), timeout: Duration::from_secs(u64::try_from(timeout).unwrap_or(0)) }
    }

    /// By then every invocation of the task has a terminal state, by the server's clock.
    pub fn deadline(self) -> Time {
        self.expires_at.plus(self.timeout).plus(DEADLINE_GRACE)
    }

    /// When the watchdog has to look at an invocation that entered `status` at `since`;
    /// `None` when there is nothing left to decide.
    pub fn due(self, status: Status, since: Time) -> Option<Time> {
        match status {
            Status::Queued | Status::Sent => Some(self.expires_at.plus(EXPIRY_GRACE)),
            Status::Accepted => Some(self.deadline()),
            Status::Running => Some(since.plus(self.timeout).plus(RUNNING_GRACE).min(self.deadline())),
            _ => None,
        }
    }
}

/// What the watchdog says of an invocation whose time has come.
pub fn verdict(status: Status) -> Option<Event> {
    match status {
        Status::Queued | Status::Sent => Some(Event::TimeOver),
        Status::Accepted | Status::Running => Some(Event::Overdue),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ENDINGS: [Ending; 6] =
        [Ending::Succeeded, Ending::Failed, Ending::TimedOut, Ending::Cancelled, Ending::Rejected, Ending::Interrupted];

    fn report() -> impl Strategy<Value = Event> {
        prop_oneof![
            Just(Event::Confirmed),
            Just(Event::Accepted),
            Just(Event::Running),
            Just(Event::TimeOver),
            Just(Event::Overdue),
            Just(Event::Returned),
        ]
    }

    fn run(events: &[Event]) -> Status {
        events.iter().fold(Status::Queued, |at, event| next(at, *event).unwrap_or(at))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]

        /// With the agent's result among them, any order and any duplication of events ends there.
        #[test]
        fn evidence_wins_whatever_the_order(
            mut events in prop::collection::vec(report(), 0..12),
            ending in prop::sample::select(ENDINGS.to_vec()),
            at in any::<prop::sample::Index>(),
            again in any::<prop::sample::Index>(),
        ) {
            events.insert(at.index(events.len() + 1), Event::Result(ending));
            events.insert(again.index(events.len() + 1), Event::Result(ending));
            prop_assert_eq!(run(&events), Status::from(ending));
        }

        /// Without guesses of the plane's, the set of reports alone decides.
        #[test]
        fn order_and_duplicates_do_not_matter(
            events in prop::collection::vec(prop_oneof![Just(Event::Confirmed), Just(Event::Accepted), Just(Event::Running)], 0..12)
                .prop_flat_map(|v| (Just(v.clone()), Just(v).prop_shuffle()))
        ) {
            let (one, other) = events;
            let doubled: Vec<_> = other.iter().chain(&other).copied().collect();
            prop_assert_eq!(run(&one), run(&doubled));
        }

        /// A rank never falls, and equal ranks never replace each other.
        #[test]
        fn ranks_only_rise(events in prop::collection::vec(report(), 0..20)) {
            let mut at = Status::Queued;
            for event in events {
                if let Some(to) = next(at, event) {
                    prop_assert!(to.rank() > at.rank());
                    at = to;
                }
            }
        }
    }

    #[test]
    fn the_plane_takes_back_only_what_was_never_sent() {
        for status in Status::ALL {
            let expected = (status == Status::Queued).then_some(Status::Cancelled);
            assert_eq!(next(status, Event::Withdrawn), expected);
        }
    }

    #[test]
    fn every_open_state_is_decided_by_the_deadline() {
        let times = Times { expires_at: Time(1_000_000), timeout: Duration::from_secs(30) };
        for status in Status::ALL {
            let due = times.due(status, times.expires_at.plus(Duration::from_secs(60)));
            assert_eq!(due.is_some(), status.is_open());
            assert!(due.is_none_or(|due| due <= times.deadline()));
            let decided = verdict(status).and_then(|event| next(status, event));
            assert_eq!(decided.is_some(), status.is_open());
            assert!(decided.is_none_or(Status::is_provisional));
        }
    }

    #[test]
    fn words_are_read_back() {
        for status in Status::ALL {
            assert_eq!(Status::parse(status.as_str()), Some(status));
        }
        assert_eq!(Status::parse("done"), None);
    }
}
