//! Connections to MySQL or MariaDB that somebody gave up on, or that the server cut.

use std::time::Duration;

use shared::db::{Db, My, my};
use tokio::time::timeout;

use crate::mysql::Database;

/// Connections that the tests' programs may have.
const CONNECTIONS: u32 = 2;
/// Longer than any of these tests would wait for an answer.
const SLEEP: &str = "select sleep(600)";

fn open(database: &Database) -> Db {
    Db::My(My::open(&my::Settings { url: database.url(), ca_file: None, connections: CONNECTIONS }).unwrap())
}

async fn number(db: &Db, number: i64) -> shared::error::Result<i64> {
    Ok(shared::read!(db, c => sqlx::query_scalar("select ?").bind(number).fetch_one(c).await)?)
}

#[tokio::test]
async fn a_statement_that_is_given_up_answers_nobody_else() {
    let database = Database::new().await;
    let db = open(&database);
    for round in 0..i64::from(CONNECTIONS) * 3 {
        let slow = async { shared::read!(&db, c => sqlx::query(SLEEP).execute(c).await.map(drop)) };
        assert!(timeout(Duration::from_millis(50), slow).await.is_err(), "it still sleeps");
        assert_eq!(number(&db, round).await.unwrap(), round);
    }
    db.close().await;
}

#[tokio::test]
async fn a_transaction_that_is_given_up_is_undone_and_blocks_nobody() {
    let database = Database::new().await;
    let db = open(&database);
    shared::read!(&db, c => sqlx::query("create table counters (n bigint not null)").execute(c).await.map(drop))
        .unwrap();
    for _ in 0..CONNECTIONS * 3 {
        let mut tx = db.begin().await.unwrap();
        shared::on!(&mut tx, c => sqlx::query("insert into counters (n) values (1)").execute(c).await.map(drop))
            .unwrap();
    }
    let count =
        shared::read!(&db, c => sqlx::query_scalar::<_, i64>("select count(*) from counters").fetch_one(c).await);
    assert_eq!(count.unwrap(), 0);
    db.close().await;
}

#[tokio::test]
async fn a_connection_that_the_server_cut_is_made_again() {
    let database = Database::new().await;
    let db = open(&database);
    let id = "select cast(connection_id() as signed)";
    let own: i64 = shared::read!(&db, c => sqlx::query_scalar(id).fetch_one(c).await).unwrap();
    let admin = database.pool();
    let kill = format!("kill {own}");
    shared::read!(&admin, c => sqlx::query(sqlx::AssertSqlSafe(kill)).execute(c).await.map(drop)).unwrap();
    // At once it may be met dead, which costs one caller; the next one has another connection.
    let _ = number(&db, 1).await;
    assert_eq!(number(&db, 2).await.unwrap(), 2);
    for db in [db, admin] {
        db.close().await;
    }
}

#[tokio::test]
async fn callers_wait_for_their_turn_and_a_closed_database_says_so() {
    let database = Database::new().await;
    let db = open(&database);
    let many = futures::future::join_all((0..50).map(|n| number(&db, n))).await;
    assert!(many.into_iter().enumerate().all(|(n, got)| got.unwrap() == n as i64));
    db.close().await;
    assert_eq!(number(&db, 1).await.unwrap_err().kind(), shared::error::Kind::Unavailable);
}
