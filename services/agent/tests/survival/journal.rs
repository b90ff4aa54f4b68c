//! A journal that is damaged is told of and left alone, and nothing runs until a person has moved it away.

use std::fs;
use std::path::Path;
use std::time::Duration;

use shared::bus::Verdict;
use shared::db::Lite;
use shared::rules::invocation::Ending;

use crate::host::{Host, START, command, ends};

fn overwrite_pages(journal: &Path) {
    let mut bytes = fs::read(journal).unwrap();
    assert!(bytes.len() > 8_192, "there is more than the first page");
    bytes[4_096..].fill(0xee);
    fs::write(journal, bytes).unwrap();
}

fn truncate(journal: &Path) {
    let length = fs::metadata(journal).unwrap().len();
    fs::File::options().write(true).open(journal).unwrap().set_len(length / 2 + 100).unwrap();
}

fn not_a_database(journal: &Path) {
    fs::write(journal, "once upon a time ".repeat(1_000)).unwrap();
}

/// What an agent from before results were signed at hand-in left behind.
fn of_another_version(journal: &Path) {
    let rename = async {
        let lite = Lite::open_small(journal).await.unwrap();
        lite.write(|query| _ = query.push("alter table jobs rename column result to report")).await.unwrap();
        lite.close().await;
    };
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    std::thread::scope(|scope| scope.spawn(|| runtime().block_on(rename)).join().unwrap());
}

#[tokio::test]
async fn of_another_version_it_is_told_of_and_nothing_runs() {
    let host = Host::new(ends).await;
    let (old, _) = command("old", "true", START);
    host.take(std::slice::from_ref(&old)).await;
    host.result().await;
    let host = host.restarted(|folder| of_another_version(&folder.join("journal.db"))).await;
    assert_eq!(host.take(&[old]).await, [Verdict::Again]);
    let trouble = host.heartbeat().await.trouble.unwrap();
    assert!(trouble.contains("another version of Muster") && trouble.contains("move it away"), "{trouble}");
    assert_eq!(host.started(), ["old"]);
}

#[tokio::test]
async fn damaged_it_is_told_of_and_nothing_runs_until_it_is_moved_away() {
    for damage in [overwrite_pages, truncate, not_a_database] {
        let host = Host::new(ends).await;
        let (old, _) = command("old", "true", START);
        host.take(std::slice::from_ref(&old)).await;
        host.result().await;
        let host = host.restarted(|folder| damage(&folder.join("journal.db"))).await;
        let journal = host.folder.join("journal.db");
        let damaged = fs::read(&journal).unwrap();
        let later = START.plus(Duration::from_secs(60));
        host.set_clock(later);
        let (new, _) = command("new", "true", later);
        assert_eq!(host.take(&[old.clone(), new.clone()]).await, [Verdict::Again, Verdict::Again]);
        let trouble = host.heartbeat().await.trouble.unwrap();
        assert!(trouble.contains("journal.db is damaged") && trouble.contains("move it away"), "{trouble}");
        assert_eq!(fs::read(&journal).unwrap(), damaged, "it is left as it is");

        fs::rename(&journal, host.folder.join("journal.damaged")).unwrap();
        for beside in ["journal.db-wal", "journal.db-shm"] {
            _ = fs::remove_file(host.folder.join(beside)); // they are mostly not there
        }
        assert_eq!(host.heartbeat().await.trouble, None, "it needs no restart");
        let (newer, _) = command("newer", "true", later.plus(Duration::from_secs(1)));
        host.set_clock(later.plus(Duration::from_secs(2)));
        host.take(&[old, newer]).await;
        let mut results = host.results(2).await;
        results.sort_by(|one, other| one.task_id.cmp(&other.task_id));
        assert_eq!(results[0].status, Ending::Succeeded, "{results:?}");
        assert_eq!(results[1].status, Ending::Rejected, "{results:?}");
        assert!(results[1].reason.as_deref().unwrap().contains("before this agent's journal was made"));
        assert_eq!(host.started(), ["old", "newer"]);
    }
}

#[tokio::test]
async fn a_run_that_began_without_it_is_followed_by_a_greater_one() {
    let host = Host::new(ends).await;
    let first = host.heartbeat().await;
    let host = host.restarted(|_| ()).await;
    let second = host.heartbeat().await;
    assert!(second.boot_id > first.boot_id, "though the clock stands still");
    assert_eq!(second.previous_boot_id.as_deref(), Some(first.boot_id.as_str()));
    let host = host.restarted(|folder| fs::rename(folder.join("journal.db"), folder.join("kept")).unwrap()).await;
    assert_eq!(host.heartbeat().await.previous_boot_id, None, "a new journal knows of no run");
}
