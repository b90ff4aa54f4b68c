//! A database of one's own on the MySQL or MariaDB server of this machine, or on the one that
//! `MUSTER_TEST_DATABASE_URL` names (without a database's name). Gone when the test is over, however
//! it ends.

use shared::db::{Db, My, my};
use sqlx::{ConnectOptions as _, Executor as _, MySqlConnection};

/// Where the server is unless the environment says otherwise.
const SERVER_DEFAULT: &str = "mysql://root@127.0.0.1:3306";

/// A database, dropped with this.
pub struct Database {
    server: String,
    name: String,
}

impl Database {
    /// Makes an empty one.
    pub async fn new() -> Self {
        Self::at(&std::env::var("MUSTER_TEST_DATABASE_URL").unwrap_or_else(|_| SERVER_DEFAULT.to_owned())).await
    }

    /// The same on a server of the test's own.
    pub async fn at(server: &str) -> Self {
        let server = server.to_owned();
        let name = format!("muster_test_{}", shared::id::random());
        let database = Self { server, name };
        let create = "create database `{}` character set utf8mb4 collate utf8mb4_bin";
        run(&database.server, &create.replace("{}", &database.name)).await.expect(
            "a MySQL or MariaDB server must answer at 127.0.0.1:3306 as root without a password, or where MUSTER_TEST_DATABASE_URL says",
        );
        database
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("{}/{}", self.server, self.name)
    }

    /// A pool on it, with the schema.
    pub async fn open(&self) -> Db {
        let db = self.pool();
        db.migrate().await.unwrap();
        db
    }

    /// A pool on it as it is.
    pub fn pool(&self) -> Db {
        Db::My(My::open(&my::Settings { url: self.url(), ca_file: None, connections: 10 }).unwrap())
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let (server, drop) = (self.server.clone(), format!("drop database if exists `{}`", self.name));
        // A runtime that is going down takes no more work, so this has one of its own.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(run(&server, &drop)).map_err(std::io::Error::other)
        });
        if !matches!(dropping.join(), Ok(Ok(()))) {
            eprintln!("the test's database {} was not dropped", self.name);
        }
    }
}

/// Runs one statement on a server.
pub async fn run(server: &str, statement: &str) -> sqlx::Result<()> {
    let options: sqlx::mysql::MySqlConnectOptions = server.parse()?;
    let mut connection: MySqlConnection = options.connect().await?;
    connection.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(statement.to_owned()))).await.map(drop)
}
