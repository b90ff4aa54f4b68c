//! What the shell learns. The statuses are part of the interface: `muster --help` lists them.

use std::process::ExitCode;

use shared::error::Kind;

/// How `muster` ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All is well.
    Success = 0,
    /// Muster works, but some server did not succeed, or some evidence does not hold.
    Shortfall = 1,
    /// What was asked cannot be: bad usage, an unusable file, a 4xx.
    Refused = 2,
    /// The control plane is away or in trouble; asking again later may help.
    Unreachable = 3,
    /// Ctrl-C, by the shells' rule of 128 and the signal.
    Interrupted = 130,
    /// The reader of the output has gone, by the same rule.
    ReaderLeft = 141,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl From<Kind> for Exit {
    fn from(kind: Kind) -> Self {
        if kind.is_refusal() { Self::Refused } else { Self::Unreachable }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caller_s_mistakes_are_two_and_the_plane_s_are_three() {
        for kind in
            [Kind::BadInput, Kind::Unauthorized, Kind::Forbidden, Kind::NotFound, Kind::Conflict, Kind::TooLarge]
        {
            assert_eq!(Exit::from(kind) as u8, 2, "{kind:?}");
        }
        for kind in [Kind::Unavailable, Kind::Timeout, Kind::Internal] {
            assert_eq!(Exit::from(kind) as u8, 3, "{kind:?}");
        }
        assert_eq!((Exit::Success as u8, Exit::Shortfall as u8, Exit::Interrupted as u8), (0, 1, 130));
    }
}
