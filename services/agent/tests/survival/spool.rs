//! A spool that is full: results are kept, new commands stay with the broker.

use shared::bus::Verdict;
use shared::db::Lite;

use crate::host::{Host, START, command, ends};

/// Over nine tenths of what the spool may hold, also when a few batches have been handed in.
const NEARLY_FULL: i64 = 9_500;

#[tokio::test]
async fn at_nine_tenths_a_new_command_stays_with_the_broker_and_no_result_is_dropped() {
    let host = Host::new(ends).await;
    let (known, _) = command("known", "true", START);
    host.take(std::slice::from_ref(&known)).await;
    host.result().await;
    let rows = format!(
        "with recursive n (n) as (select 1 union all select n + 1 from n where n < {NEARLY_FULL})
         insert into jobs (task_id, digest, phase, result, issued_at, not_before, at)
         select 'old-' || n, 'd', 'finished', 'a result', 0, 0, 0 from n"
    );
    let journal = host.folder.join("journal.db");
    let lite = Lite::open_small(&journal).await.unwrap();
    lite.write(|query| _ = query.push(rows)).await.unwrap();
    lite.close().await;
    let host = host.restarted(|_| ()).await;
    let (new, _) = command("new", "true", START.plus(std::time::Duration::from_millis(1)));
    let verdicts = host.take(&[new, known]).await;
    assert_eq!(verdicts, [Verdict::Again, Verdict::Done], "what is known is acknowledged all the same");
    let beat = host.heartbeat().await;
    assert!(beat.trouble.unwrap().contains("spool is full"));
    assert!((9_000..=NEARLY_FULL).contains(&i64::from(beat.spooled)), "{}", beat.spooled);
    assert_eq!(host.remembered().await, NEARLY_FULL + 1);
    assert_eq!(host.started(), ["known"]);
}
