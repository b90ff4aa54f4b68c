//! A cancel before its command, while that waits, while it runs, after it, twice, and for another one.

use agent::exec::{End, Job, Outcome, Script};
use shared::bus::Verdict;
use shared::rules::invocation::Ending;

use crate::host::{Host, START, cancel, command, ends};

const DONE: Verdict = Verdict::Done;

/// Commands called `hang` last until they are cancelled.
fn script(job: &Job) -> Script {
    if job.command == "hang" { Script::Hangs } else { Script::Ends(Outcome::new(End::Exited(0), "")) }
}

#[tokio::test]
async fn one_that_overtakes_its_command_ends_it_before_it_starts() {
    let host = Host::new(ends).await;
    let (run, digest) = command("t", "true", START);
    let stop = cancel("t", &digest, START);
    assert_eq!(host.take(&[stop.clone(), stop.clone()]).await, [DONE, DONE], "twice is once");
    let host = host.restarted(|_| ()).await; // it is remembered
    assert_eq!(host.take(std::slice::from_ref(&run)).await, [DONE]);
    let result = host.result().await;
    assert_eq!((result.status, result.exit_code), (Ending::Cancelled, 125));
    assert_eq!(result.reason.as_deref(), Some("cancelled before it started"));
    assert_eq!(host.take(&[run, stop]).await, [DONE, DONE]);
    host.results(0).await;
    assert!(host.started().is_empty());
}

#[tokio::test]
async fn in_one_batch_with_its_command_it_counts_in_either_order() {
    for cancel_first in [true, false] {
        let host = Host::new(script).await;
        let (run, digest) = command("t", "hang", START);
        let mut batch = vec![run, cancel("t", &digest, START)];
        if cancel_first {
            batch.reverse();
        }
        assert_eq!(host.take(&batch).await, [DONE, DONE]);
        assert_eq!(host.result().await.status, Ending::Cancelled);
    }
}

#[tokio::test]
async fn while_its_command_waits_or_runs_it_ends_that_one_alone() {
    let host = Host::new(script).await;
    let (first, first_digest) = command("first", "hang", START);
    let (second, second_digest) = command("second", "true", START);
    host.take(&[first, second]).await;
    host.until_started(1).await;
    assert_eq!(host.take(&[cancel("second", &second_digest, START)]).await, [DONE]);
    let result = host.result().await;
    assert_eq!((result.task_id.as_str(), result.status, result.exit_code), ("second", Ending::Cancelled, 125));
    let stop = cancel("first", &first_digest, START);
    assert_eq!(host.take(std::slice::from_ref(&stop)).await, [DONE]);
    let result = host.result().await;
    assert_eq!((result.status, result.exit_code, result.signal), (Ending::Cancelled, 143, Some(15)));
    assert_eq!(result.reason.as_deref(), Some("cancelled while it ran, and was ended with all its processes"));
    assert_eq!(host.take(&[stop]).await, [DONE], "after the end it changes nothing");
    host.results(0).await;
    assert_eq!(host.started(), ["first"]);
}

#[tokio::test]
async fn one_for_another_command_of_the_task_is_not_believed() {
    let host = Host::new(script).await;
    let (run, digest) = command("t", "hang", START);
    let (_, other) = command("t", "another", START);
    let wrong = cancel("t", &other, START);
    assert_eq!(host.take(std::slice::from_ref(&wrong)).await, [DONE], "it may be for one that has not come yet");
    assert_eq!(host.take(&[run]).await, [DONE]);
    host.until_started(1).await;
    assert_eq!(host.take(&[wrong]).await, [Verdict::Dead("wrong_digest".into())]);
    host.results(0).await;
    assert_eq!(host.take(&[cancel("t", &digest, START)]).await, [DONE]);
    assert_eq!(host.result().await.status, Ending::Cancelled);
}
