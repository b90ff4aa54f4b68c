//! That nothing is looked for by reading everything. MariaDB counts the rows that a connection reads, so
//! the real functions are asked and the count is taken; SQLite says beforehand what it would read.

use shared::clock::Time;
use shared::config::Keep;
use shared::db::{Db, My, my};
use shared::store;
use sqlx::AssertSqlSafe;

use crate::mysql::Database;
use crate::steps::Parts;

/// Tasks to look among, each with one invocation and one result.
const TASKS: i64 = 4_000;
/// Rows that a look at a page of 50 may read, the keys that lead to them included.
const ROWS_MAX: i64 = 400;
/// The digits before the number in the ids here.
const ID: &str = "018bcfe56800700000000000";

fn id(number: i64) -> String {
    format!("{ID}{number:08}")
}

/// Fills the tables with finished tasks.
async fn fill(db: &Db) {
    let ids: Vec<_> = (0..TASKS).map(id).collect();
    let mut tx = db.begin_soft().await.unwrap();
    for ids in ids.chunks(500) {
        shared::later!(&mut tx, query => {
            query.push("insert into tasks (task_id, target_type, command, timeout, created_at, expires_at, requested_by, trace_id,
                traceparent, queued, succeeded) ");
            query.push_values(ids, |mut row, id| {
                row.push_bind(id).push("'all', 'true', 30, 0, 0, 'local', '', '', 0, 1");
            });
        })
        .unwrap();
        shared::later!(&mut tx, query => {
            query.push("insert into waves (task_id, wave, expires_at, command_digest, keyid, envelope) ");
            query.push_values(ids, |mut row, id| _ = row.push_bind(id).push("1, 0, '', '', ''"));
        })
        .unwrap();
        shared::later!(&mut tx, query => {
            query.push("insert into invocations (task_id, hostname, status, proof, queued_at) ");
            query.push_values(ids, |mut row, id| _ = row.push_bind(id).push("'a', 'succeeded', '', 0"));
        })
        .unwrap();
        shared::later!(&mut tx, query => {
            query.push("insert into results (task_id, hostname, exit_code, finished_at, received_at, output_at, digest, keyid, envelope) ");
            query.push_values(ids, |mut row, id| _ = row.push_bind(id).push("'a', 0, 0, 0, 0, '', '', ''"));
        })
        .unwrap();
    }
    tx.commit().await.unwrap();
}

/// Rows and keys that this connection has read so far.
async fn rows_read(db: &Db) -> i64 {
    let counters: Vec<(String, String)> = shared::read!(db, c =>
        sqlx::query_as("show session status like 'Handler_read%'").fetch_all(c).await)
    .unwrap();
    counters.iter().map(|(_, count)| count.parse::<i64>().unwrap()).sum()
}

#[tokio::test]
async fn mysql_reads_no_more_than_it_shows() {
    let database = Database::new().await;
    database.open().await.close().await;
    // One connection, because each counts for itself.
    let db = Db::My(My::open(&my::Settings { url: database.url(), ca_file: None, connections: 1 }).unwrap());
    fill(&db).await;
    shared::read!(&db, c => sqlx::query("analyze table tasks, invocations, results").execute(c).await.map(drop))
        .unwrap();
    let (middle, host) = (id(TASKS / 2), "a".to_owned());
    let key = [(middle.clone(), host)];
    macro_rules! check {
        ($what:literal, $look:expr) => {
            let before = rows_read(&db).await;
            $look.unwrap();
            let read = rows_read(&db).await - before;
            assert!(read <= ROWS_MAX, "{} read {read} rows", $what);
        };
    }
    let before = rows_read(&db).await;
    assert_eq!(store::task::count(&db).await.unwrap(), TASKS.unsigned_abs());
    assert!(rows_read(&db).await - before >= TASKS, "what does read everything is counted as such");
    check!("the first page", store::task::page(&db, "~", 50).await);
    check!("a page in the middle", store::task::page(&db, &middle, 50).await);
    check!("the last page", store::task::page(&db, &id(50), 50).await);
    check!("one task", store::task::find(&db, &middle).await);
    let task = store::task::find(&db, &middle).await.unwrap().unwrap();
    check!("invocations", store::invocation::page(&db, &task, "", 50).await);
    check!("results", store::result::evidence(&db, "none", &(i64::MIN, String::new()), 50).await);
    check!("the watchdog", store::invocation::due(&db, Time(1), 50).await);
    check!("an idempotency key", store::task::by_idempotency_key(&db, "k").await);
    check!("the oldest tasks", store::task::oldest(&db, "", 50).await);
    check!("old tasks further on", store::task::oldest(&db, &middle, 50).await);
    check!("the first that stays", store::task::id_behind(&db, 50).await);
    check!("old outputs", store::result::with_output(&db, Time(1), 50).await);
    check!("removals", store::removal::oldest(&db, 50).await);
    let mut tx = db.begin().await.unwrap();
    let before = transaction_rows(&mut tx).await;
    store::result::remove_output(&mut tx, &key).await.unwrap();
    let removed = store::task::delete(&mut tx, &[middle]).await.unwrap();
    store::removal::insert(&mut tx, &removed).await.unwrap();
    let keys = store::invocation::of_tasks(&mut tx, &removed, 50).await.unwrap();
    assert_eq!((removed.len(), keys.len()), (1, 1));
    store::result::delete(&mut tx, &keys).await.unwrap();
    store::invocation::delete(&mut tx, &keys).await.unwrap();
    store::removal::delete(&mut tx, &removed).await.unwrap();
    let read = transaction_rows(&mut tx).await - before;
    assert!(read <= ROWS_MAX, "removing one task read {read} rows");
    tx.commit().await.unwrap();
    db.close().await;
}

async fn transaction_rows(tx: &mut shared::db::Tx) -> i64 {
    let counters: Vec<(String, String)> =
        shared::on!(tx, c => sqlx::query_as("show session status like 'Handler_read%'").fetch_all(c).await).unwrap();
    counters.iter().map(|(_, count)| count.parse::<i64>().unwrap()).sum()
}

/// The conditions by which rows are looked for, in lists and in retention.
const LOOKS: &[&str] = &[
    "select * from tasks where task_id < 'x' order by task_id desc limit 50",
    "select * from tasks where task_id > 'a' order by task_id limit 50",
    "select * from tasks where task_id = 'x'",
    "select task_id from tasks where task_id in ('x', 'y') order by task_id",
    "delete from tasks where task_id in ('x', 'y')",
    "select * from tasks where idempotency_key = 'x'",
    "select * from invocations i left join results r on r.task_id = i.task_id and r.hostname = i.hostname
     where i.task_id = 'x' and i.hostname > 'a' order by i.hostname limit 50",
    "select task_id, hostname from invocations where due_at < 5 order by due_at limit 50",
    "select task_id, hostname from invocations where task_id in ('x', 'y') order by task_id, hostname limit 50",
    "delete from invocations where (task_id = 'x' and hostname in ('a', 'b')) or (task_id = 'y' and hostname in ('a'))",
    "select * from results where task_id = 'x' and (finished_at > 5 or (finished_at = 5 and hostname > 'a'))
     order by finished_at, hostname limit 50",
    "select task_id, hostname from results where output_at < 5 order by output_at limit 50",
    "update results set envelope = '', output_at = null
     where (task_id = 'x' and hostname in ('a', 'b')) or (task_id = 'y' and hostname in ('a'))",
    "delete from results where (task_id = 'x' and hostname in ('a', 'b')) or (task_id = 'y' and hostname in ('a'))",
    "delete from result_conflicts where (task_id = 'x' and hostname in ('a', 'b')) or (task_id = 'y' and hostname in ('a'))",
    "delete from removals where task_id in ('x', 'y')",
];

#[tokio::test]
async fn sqlite_searches_and_never_scans_a_table_or_sorts_it() {
    let parts = Parts::over_sqlite().await;
    fill(&parts.ctx.db).await;
    for look in LOOKS {
        let explain = format!("explain query plan {look}");
        let plan: Vec<(i64, i64, i64, String)> = shared::read!(&parts.ctx.db, c =>
            sqlx::query_as(AssertSqlSafe(explain.clone())).fetch_all(c).await)
        .unwrap();
        let steps: Vec<_> = plan.into_iter().map(|(.., step)| step).collect();
        let is_bad = |step: &String| step.starts_with("SCAN") || step.contains("TEMP B-TREE");
        assert!(!steps.is_empty() && !steps.iter().any(is_bad), "{look}: {steps:?}");
    }
    // What these are the conditions of does work: the rows go.
    parts.retain(Keep::new(1, 0, 1)).await;
    assert_eq!(parts.rows().await, [0, 0, 0, 0, 0]);
}
