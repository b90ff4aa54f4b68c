//! When a task may be removed.
//!
//! What is final cannot change any more. What the plane had to guess (expired, lost, undeliverable) may
//! still be overruled by signed evidence: an agent remembers a command for 8 days, and a replaced key
//! counts for 8 days. So long after its deadline such a task may go too; else what was sent to a server
//! that never came back would stay for ever. What is open stays, since the watchdog decides it.

use std::time::Duration;

use super::task::Status;
use crate::clock::Time;

/// How long after a task's deadline evidence that overrules a guess is waited for.
pub const LATE_EVIDENCE: Duration = Duration::from_secs(8 * 24 * 3_600);

/// Whether nothing is expected any more of a task that stands there and had this deadline.
pub fn is_removable((status, is_final): (Status, bool), deadline: Time, now: Time) -> bool {
    let is_open = matches!(status, Status::Sent | Status::Running);
    is_final || (!is_open && deadline.plus(LATE_EVIDENCE) < now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::invocation::Status as Invocation;
    use crate::rules::task::Counts;

    #[test]
    fn final_at_once_guessed_late_and_open_never() {
        let deadline = Time(1_000);
        let last = deadline.plus(LATE_EVIDENCE);
        for status in Invocation::ALL {
            let mut counts = Counts::default();
            counts.shift(Invocation::Queued, status);
            counts.0[Invocation::Queued as usize] = i64::from(status == Invocation::Queued);
            let may_go = |now| is_removable((counts.status(), counts.is_final()), deadline, now);
            let expected = (status.rank() == 5, status.rank() == 5, !status.is_open());
            let after = last.plus(Duration::from_millis(1));
            assert_eq!((may_go(deadline), may_go(last), may_go(after)), expected, "{status:?}");
        }
    }
}
