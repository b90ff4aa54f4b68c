//! A clock that jumps. What is remembered does not depend on it, and what is believed does only as long
//! as it has not gone back.

use std::time::Duration;

use shared::bus::Verdict;
use shared::clock::Time;
use shared::rules::invocation::Ending;

use crate::host::{Host, START, VALID, cancel, command, ends};

const DAY: Duration = Duration::from_secs(24 * 3_600);

fn before(moment: Time, by: Duration) -> Time {
    Time(moment.0 - i64::try_from(by.as_millis()).unwrap())
}

#[tokio::test]
async fn behind_the_newest_signed_command_it_runs_nothing() {
    let minute = Duration::from_secs(60);
    let host = Host::new(ends).await;
    let (first, _) = command("first", "true", START);
    host.take(std::slice::from_ref(&first)).await;
    assert_eq!(host.result().await.status, Ending::Succeeded);
    let host = host.restarted(|_| ()).await; // the journal knows how late it is
    host.set_clock(before(START, minute * 6));
    let (old, _) = command("old", "true", before(START, minute * 10));
    assert_eq!(host.take(&[first, old]).await, [Verdict::Done, Verdict::Done]);
    let result = host.result().await;
    assert_eq!((result.task_id.as_str(), result.status), ("old", Ending::Rejected));
    assert!(result.reason.as_deref().unwrap().contains("set the clock"), "{result:?}");
    host.set_clock(before(START, minute * 2));
    let (ahead, _) = command("ahead", "true", START);
    host.take(&[ahead]).await;
    let reason = host.result().await.reason.unwrap();
    assert!(reason.contains("signed later") && reason.contains("set the clock"), "{reason}");
    let (little, _) = command("little", "true", before(START, minute * 3));
    host.take(&[little]).await;
    assert_eq!(host.result().await.status, Ending::Succeeded, "a little behind is no harm");
    assert_eq!(host.started(), ["first", "little"]);
}

#[tokio::test]
async fn ahead_and_back_it_forgets_nothing() {
    let host = Host::new(ends).await;
    let (run, _) = command("ran", "true", START);
    host.take(std::slice::from_ref(&run)).await;
    host.result().await;
    let (cancelled, digest) = command("cancelled", "true", START);
    host.take(&[cancel("cancelled", &digest, START)]).await;
    host.set_clock(START.plus(DAY * 3_650));
    host.chore("tidy").await;
    let (late, _) = command("late", "true", START);
    host.take(std::slice::from_ref(&late)).await;
    assert_eq!(host.result().await.reason.as_deref(), Some("its time was over before it could start"));
    host.chore("tidy").await;
    host.set_clock(START);
    host.take(&[run, late]).await;
    host.results(0).await;
    host.take(&[cancelled]).await;
    assert_eq!(host.result().await.status, Ending::Cancelled);
    assert_eq!(host.started(), ["ran"]);
}

#[tokio::test]
async fn a_signed_command_eight_days_younger_lets_it_forget() {
    let host = Host::new(ends).await;
    for (task_id, days, remembered) in [("a", 0, 1), ("b", 7, 2), ("c", 9, 2), ("d", 20, 1)] {
        let now = START.plus(DAY * days);
        host.set_clock(now);
        host.take(&[command(task_id, "true", now).0]).await;
        host.result().await;
        host.chore("tidy").await;
        assert_eq!(host.remembered().await, remembered, "{task_id}");
    }
    assert!(VALID < DAY * 8);
}
