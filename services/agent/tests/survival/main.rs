//! What an agent keeps to when its host fails it: a disk that is full or read-only, a damaged journal, a
//! clock that jumps, a spool that is full; and cancels that come at any moment. The agent is real, but for
//! its processes; the test is its broker, its plane and its clock.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says so")]

mod cancel;
mod clock;
mod disk;
mod host;
mod journal;
mod spool;
