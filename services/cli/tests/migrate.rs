//! `muster migrate` against a real server, in a database of each test's own.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so")]

use std::io::{BufRead as _, BufReader};
use std::net::Ipv4Addr;
use std::process::{Command, Output, Stdio};

use sqlx::{ConnectOptions as _, Connection as _, Executor as _, MySqlConnection};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpSocket, TcpStream};

const SERVER: &str = "127.0.0.1:3306";

/// A database that goes when the test does.
struct Database(String);

impl Database {
    async fn new(collation: &str) -> Self {
        let name = format!("muster_cli_{}", shared::id::random());
        execute(&format!("create database {name} character set utf8mb4 collate {collation}")).await;
        Self(name)
    }

    fn url(&self, server: &str) -> String {
        format!("mysql://root@{server}/{}", self.0)
    }

    fn migrate(&self) -> Command {
        migrate(&[("MUSTER_DATABASE_URL", &self.url(SERVER))])
    }

    async fn count(&self, what: &str) -> i64 {
        sqlx::query_scalar(sqlx::AssertSqlSafe(format!("select count(*) from {}.{what}", self.0)))
            .fetch_one(&mut connect().await)
            .await
            .unwrap()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let drop = format!("drop database {}", self.0);
        // On a thread of its own: the test's runtime may be the one that this runs in.
        let dropped = std::thread::spawn(move || tokio::runtime::Runtime::new().unwrap().block_on(execute(&drop)));
        dropped.join().unwrap();
    }
}

async fn connect() -> MySqlConnection {
    let options: sqlx::mysql::MySqlConnectOptions = format!("mysql://root@{SERVER}/").parse().unwrap();
    options.disable_statement_logging().connect().await.unwrap()
}

async fn execute(sql: &str) {
    let mut connection = connect().await;
    connection.execute(sqlx::AssertSqlSafe(sql.to_owned())).await.unwrap();
    connection.close().await.unwrap();
}

fn migrate(settings: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_muster"));
    command.env_clear().arg("migrate").envs(settings.iter().copied()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Its exit status, and all that it said.
fn outcome(output: &Output) -> (Option<i32>, String) {
    let said = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    (output.status.code(), said.concat())
}

#[tokio::test]
async fn replicas_may_migrate_at_once() {
    let database = Database::new("utf8mb4_bin").await;
    let started: Vec<_> = (0..4).map(|_| database.migrate().spawn().unwrap()).collect();
    for one in started {
        let (status, said) = outcome(&one.wait_with_output().unwrap());
        assert_eq!(status, Some(0), "{said}");
    }
    let all = database.count("_sqlx_migrations where success = true").await;
    assert!(all > 0 && database.count("servers").await == 0);
    let again = outcome(&database.migrate().output().unwrap());
    assert_eq!(again, (Some(0), format!("nothing to do: the database has all {all} migrations\n")));
    let newer = "_sqlx_migrations select 9999, '', installed_on, true, checksum, 0 from";
    execute(&format!("insert into {0}.{newer} {0}._sqlx_migrations where version = 1", database.0)).await;
    let (status, said) = outcome(&database.migrate().output().unwrap());
    assert!(status == Some(3) && said.contains("another version of Muster"), "{status:?} {said}");
}

#[tokio::test]
async fn a_database_made_otherwise_is_refused_until_it_is_right() {
    let database = Database::new("utf8mb4_general_ci").await;
    let (status, said) = outcome(&database.migrate().output().unwrap());
    let remedy = format!("alter database {} character set utf8mb4 collate utf8mb4_bin", database.0);
    assert!(status == Some(2) && said.contains(&remedy), "{status:?} {said}");
    execute(&remedy).await;
    let (status, said) = outcome(&database.migrate().output().unwrap());
    assert!(status == Some(0) && said.contains("it had 0 migrations and has"), "{status:?} {said}");
}

#[tokio::test]
async fn what_was_broken_off_is_told() {
    let database = Database::new("utf8mb4_bin").await;
    assert_eq!(outcome(&database.migrate().output().unwrap()).0, Some(0));
    execute(&format!("update {}._sqlx_migrations set success = false where version = 18", database.0)).await;
    let (status, said) = outcome(&database.migrate().output().unwrap());
    assert!(status == Some(2) && said.contains("migration 18 was broken off"), "{status:?} {said}");
}

#[test]
fn wrong_settings_are_named_and_secrets_are_not_shown() {
    for (settings, named) in [
        (&[][..], "MUSTER_DATABASE_URL"),
        (&[("MUSTER_DATABASE_URL", "mysql://u:geheim@h")], "MUSTER_DATABASE_URL"),
        (&[("MUSTER_DATABASE_URL_FILE", "/nowhere/url")], "MUSTER_DATABASE_URL_FILE"),
        (&[("MUSTER_CONFIG", "/nowhere/muster.toml")], "MUSTER_CONFIG"),
        (&[("MUSTER_DATABASE_URL", "mysql://u:geheim@h/d"), ("MUSTER_DATABASE_CA_FILE", "/nowhere/ca")], "/nowhere/ca"),
    ] {
        let (status, said) = outcome(&migrate(settings).output().unwrap());
        assert!(status == Some(2) && said.contains(named) && !said.contains("geheim"), "{status:?} {said}");
    }
}

#[tokio::test]
async fn a_database_that_comes_later_is_waited_for() {
    let database = Database::new("utf8mb4_bin").await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let place = socket.local_addr().unwrap();
    let mut child = migrate(&[("MUSTER_DATABASE_URL", &database.url(&place.to_string()))]).spawn().unwrap();
    let mut said = String::new();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    stderr.read_line(&mut said).unwrap();
    assert!(said.contains("waiting for the database"), "{said}");
    let listener = socket.listen(8).unwrap();
    let forward = tokio::spawn(async move {
        while let Ok((mut here, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut there = TcpStream::connect(SERVER).await.unwrap();
                copy_bidirectional(&mut here, &mut there).await.ok(); // either side may end it
            });
        }
    });
    let (status, said) =
        outcome(&tokio::task::spawn_blocking(move || child.wait_with_output()).await.unwrap().unwrap());
    forward.abort();
    assert!(status == Some(0) && said.contains("it had 0 migrations"), "{status:?} {said}");
}
