//! A task's status is a pure function of how many of its invocations stand where.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::invocation::Status as Invocation;

/// How many invocations of a task stand in each state, in the order of [`Invocation::ALL`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts(pub [i64; Invocation::ALL.len()]);

/// Where a task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Durably accepted; no server has reported yet.
    Sent,
    /// Some server has reported, some is still open.
    Running,
    /// Every server succeeded.
    Succeeded,
    /// Every invocation was cancelled.
    Cancelled,
    /// Every invocation expired.
    Expired,
    /// No server succeeded.
    Failed,
    /// Some succeeded, some did not.
    Partial,
}

impl Status {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
            Self::Failed => "failed",
            Self::Partial => "partial",
        }
    }
}

impl Counts {
    /// `targets` invocations, all of them queued.
    pub fn queued(targets: i64) -> Self {
        let mut counts = Self::default();
        counts.0[0] = targets;
        counts
    }

    /// How many stand in `status`.
    pub fn of(&self, status: Invocation) -> i64 {
        self.0[status as usize]
    }

    /// Moves one invocation.
    pub fn shift(&mut self, from: Invocation, to: Invocation) {
        self.0[from as usize] -= 1;
        self.0[to as usize] += 1;
    }

    /// How many invocations there are.
    pub fn targets(&self) -> i64 {
        self.0.iter().sum()
    }

    fn sum(&self, belongs: impl Fn(Invocation) -> bool) -> i64 {
        Invocation::ALL.iter().filter(|status| belongs(**status)).map(|status| self.of(*status)).sum()
    }

    /// The task's status.
    pub fn status(&self) -> Status {
        let targets = self.targets();
        let succeeded = self.of(Invocation::Succeeded);
        if self.open() > 0 {
            return if self.sum(is_silent) == targets { Status::Sent } else { Status::Running };
        }
        match () {
            () if succeeded == targets => Status::Succeeded,
            () if self.of(Invocation::Cancelled) == targets => Status::Cancelled,
            () if self.of(Invocation::Expired) == targets => Status::Expired,
            () if succeeded == 0 => Status::Failed,
            () => Status::Partial,
        }
    }

    /// How many have no end yet.
    pub fn open(&self) -> i64 {
        self.sum(Invocation::is_open)
    }

    /// How many came to an end, be it a guessed one, that is no success. Those that were spared their
    /// wave were never tried.
    pub fn errors(&self) -> i64 {
        self.sum(|status| !status.is_open() && !matches!(status, Invocation::Succeeded | Invocation::Skipped))
    }

    /// Nothing about this task can change any more.
    pub fn is_final(&self) -> bool {
        self.sum(|status| status.rank() < 5) == 0
    }

    /// The states that occur, by name, for people and programs to read.
    pub fn by_name(&self) -> BTreeMap<String, i64> {
        let occurs = |status: &&Invocation| self.of(**status) != 0;
        Invocation::ALL.iter().filter(occurs).map(|s| (s.as_str().to_owned(), self.of(*s))).collect()
    }
}

/// Its server has not been heard of.
fn is_silent(status: Invocation) -> bool {
    use Invocation::{Expired, Queued, Sent, Skipped, Undeliverable};
    matches!(status, Queued | Sent | Expired | Undeliverable | Skipped)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(of: &[(Invocation, i64)]) -> Counts {
        let mut counts = Counts::default();
        for (status, n) in of {
            counts.0[*status as usize] = *n;
        }
        counts
    }

    #[test]
    fn status_follows_from_counts() {
        use Invocation as I;
        for (of, status, is_final) in [
            (vec![], Status::Succeeded, true),
            (vec![(I::Queued, 2)], Status::Sent, false),
            (vec![(I::Queued, 1), (I::Sent, 1)], Status::Sent, false),
            (vec![(I::Queued, 1), (I::Succeeded, 1)], Status::Running, false),
            (vec![(I::Accepted, 1)], Status::Running, false),
            (vec![(I::Queued, 1), (I::Undeliverable, 1)], Status::Sent, false),
            (vec![(I::Succeeded, 3)], Status::Succeeded, true),
            (vec![(I::Cancelled, 3)], Status::Cancelled, true),
            (vec![(I::Expired, 3)], Status::Expired, false),
            (vec![(I::Failed, 1), (I::Cancelled, 1)], Status::Failed, true),
            (vec![(I::Succeeded, 1), (I::Lost, 1)], Status::Partial, false),
            (vec![(I::Succeeded, 1), (I::Skipped, 1)], Status::Partial, true),
        ] {
            let counts = counts(&of);
            assert_eq!((counts.status(), counts.is_final()), (status, is_final), "{of:?}");
        }
    }

    #[test]
    fn order_of_the_counts_is_the_order_of_the_states() {
        for (place, status) in Invocation::ALL.into_iter().enumerate() {
            assert_eq!(status as usize, place);
        }
    }

    #[test]
    fn moving_keeps_the_sum() {
        let mut counts = Counts::queued(5);
        counts.shift(Invocation::Queued, Invocation::Sent);
        assert_eq!((counts.targets(), counts.of(Invocation::Sent)), (5, 1));
        assert_eq!(counts.by_name().len(), 2);
    }
}
