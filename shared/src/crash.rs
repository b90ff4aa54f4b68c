//! Crash points: moments at which a program can be told to die, so that the fault suite kills it
//! exactly between two steps that belong together. `MUSTER_CRASH_AT=relay.confirmed:2` kills the
//! process with SIGKILL when it passes that point for the second time: no destructor runs, nothing
//! is flushed, as with a power cut of this one program.
//!
//! They exist where `debug_assertions` do, so a release build holds neither the names nor the
//! variable. A Cargo feature would not do: features unite over a workspace, and one crate's tests
//! would put the points into everybody's programs.
//!
//! This is the catalogue; a point that is not in it cannot be named in the code, and the suite has a
//! cell for each of them.

/// Whether this build has crash points.
pub const ARMED: bool = cfg!(debug_assertions);
/// What tells a program where to die: a point's name, and after a colon at which passing (default 1).
pub const VARIABLE: &str = "MUSTER_CRASH_AT";

macro_rules! points {
    ($($(#[doc = $meaning:literal])* $point:ident = $name:literal,)*) => {
        /// A moment between two steps that belong together.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Point {
            $($(#[doc = $meaning])* $point,)*
        }

        impl Point {
            /// All of them, in the order of a command's way.
            pub const ALL: &[Self] = &[$(Self::$point),*];

            /// What [`VARIABLE`] calls it.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$point => $name,)*
                }
            }
        }
    };
}

points! {
    /// The task is written, its invocations are not.
    AcceptTask = "accept.task",
    /// All that the answer promises is written and not committed.
    AcceptWritten = "accept.written",
    /// It is committed, and the caller does not know.
    AcceptCommitted = "accept.committed",
    /// A cancel is written and not committed.
    CancelWritten = "cancel.written",
    /// A cancel is committed, and the caller does not know.
    CancelCommitted = "cancel.committed",
    /// The next wave of a roll-out is signed, and not stored.
    RolloutSigned = "rollout.signed",
    /// The wave is written and not committed.
    RolloutWritten = "rollout.written",
    /// The wave is committed, and the relay not rung for.
    RolloutCommitted = "rollout.committed",
    /// Commands are handed over to the relay, and nothing is published.
    RelayHanded = "relay.handed",
    /// Rows of the outbox are leased, and nothing is published.
    RelayLeased = "relay.leased",
    /// What a lost queue held is in the outbox again, and the queue is not declared.
    RelayRequeued = "relay.requeued",
    /// A command is with the broker, which has not confirmed it.
    RelaySent = "relay.sent",
    /// The broker confirmed, and the outbox does not know.
    RelayConfirmed = "relay.confirmed",
    /// The outcomes are written and not committed.
    RelayWritten = "relay.written",
    /// The outbox knows.
    RelaySettled = "relay.settled",
    /// A batch has reached the agent, and its journal does not know.
    AgentReceived = "agent.received",
    /// The journal has the batch, and nothing of it happened.
    AgentJournalled = "agent.journalled",
    /// What the batch asks for has begun, and the broker is not told that it was taken.
    AgentAdmitted = "agent.admitted",
    /// A command that had to wait is journalled as starting, and not started.
    AgentPrepared = "agent.prepared",
    /// The journal says `starting`, and there is no process.
    AgentStarting = "agent.starting",
    /// There is a process, and the journal does not know where.
    AgentForked = "agent.forked",
    /// The journal knows where the process is.
    AgentMarked = "agent.marked",
    /// The command is over, and nobody but the agent knows.
    AgentExited = "agent.exited",
    /// The result is in the journal, and not handed in.
    AgentSpooled = "agent.spooled",
    /// A result is with the broker, which has not confirmed it.
    AgentSent = "agent.sent",
    /// The broker confirmed the result, and the spool does not know.
    AgentConfirmed = "agent.confirmed",
    /// The spool knows.
    AgentDelivered = "agent.delivered",
    /// What is left of an interrupted command is killed, and the journal does not know.
    AgentInterrupting = "agent.interrupting",
    /// What the journal forgets is deleted and not committed.
    AgentForgetting = "agent.forgetting",
    /// A batch has reached the ingestor, and nothing is stored.
    IngestorReceived = "ingestor.received",
    /// Results are inserted, and no state has advanced.
    IngestorInserted = "ingestor.inserted",
    /// The whole batch is written and not committed.
    IngestorWritten = "ingestor.written",
    /// It is committed, and the broker is not told.
    IngestorCommitted = "ingestor.committed",
    /// A batch that could not be stored is about to be halved.
    IngestorHalving = "ingestor.halving",
    /// A dead letter is with the broker, which has not confirmed it.
    DeadLetterSent = "dead-letter.sent",
    /// States have advanced, and the counts of their tasks have not.
    StatesAdvanced = "states.advanced",
    /// The watchdog's verdicts are written and not committed.
    WatchdogWritten = "watchdog.written",
}

/// Dies here, if this is where the program was told to.
#[cfg(debug_assertions)]
pub fn point(point: Point) {
    armed::pass(point);
}

/// A release build passes.
#[cfg(not(debug_assertions))]
pub const fn point(_point: Point) {}

#[cfg(debug_assertions)]
mod armed {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;

    use super::{Point, VARIABLE};

    /// Where to die, and how often that point is still survived.
    struct Plan {
        point: Point,
        passes: AtomicU32,
    }

    static PLAN: LazyLock<Option<Plan>> = LazyLock::new(|| {
        let text = std::env::var(VARIABLE).ok()?;
        let plan = parse(&text).map(|(point, passes)| Plan { point, passes: AtomicU32::new(passes) });
        if plan.is_none() {
            tracing::error!("{VARIABLE} must be a crash point like `relay.confirmed` or `relay.confirmed:2`");
        }
        plan
    });

    /// A point, and the number of the passing that is the last.
    pub(super) fn parse(text: &str) -> Option<(Point, u32)> {
        let (name, passing) = text.split_once(':').unwrap_or((text, "1"));
        let point = Point::ALL.iter().find(|point| point.name() == name)?;
        passing.parse().ok().filter(|passing| *passing > 0).map(|passing| (*point, passing))
    }

    pub(super) fn pass(point: Point) {
        let Some(plan) = PLAN.as_ref().filter(|plan| plan.point == point) else { return };
        if plan.passes.fetch_sub(1, Ordering::Relaxed) == 1 {
            eprintln!("killed at {}", point.name()); // unbuffered, so the suite reads it in the log
            let _ = kill(Pid::this(), Signal::SIGKILL); // one's own process can always be killed
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = Point::ALL.iter().map(|point| point.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Point::ALL.len());
    }

    #[cfg(debug_assertions)]
    #[test]
    fn a_point_is_named_with_the_passing() {
        assert_eq!(armed::parse("relay.confirmed"), Some((Point::RelayConfirmed, 1)));
        assert_eq!(armed::parse("agent.exited:3"), Some((Point::AgentExited, 3)));
        for wrong in ["", "relay", "relay.confirmed:", "relay.confirmed:0", "relay.confirmed:-1", "x:1"] {
            assert_eq!(armed::parse(wrong), None, "{wrong}");
        }
    }

    /// Release builds have no crash points because nothing turns `debug_assertions` on for them.
    #[test]
    fn the_release_profile_has_none() {
        assert_eq!(ARMED, cfg!(debug_assertions));
        let manifest = include_str!("../../Cargo.toml");
        let manifest: toml::Table = toml::from_str(manifest).unwrap();
        let profiles = manifest["profile"].as_table().unwrap();
        let inherits = |profile: &toml::Value| profile.get("inherits").and_then(toml::Value::as_str) == Some("release");
        let released: Vec<_> =
            profiles.iter().filter(|(name, profile)| *name == "release" || inherits(profile)).collect();
        assert!(!released.is_empty());
        for (name, profile) in released {
            assert!(profile.get("debug-assertions").is_none(), "the profile {name} would have crash points");
        }
    }
}
