//! Requests: the services that answer them, the connections that they keep, and what stops a start.

use std::time::{Duration, Instant};

use serde_json::json;
use sqlx::AssertSqlSafe;

use super::event::{request, rest_request, scheduled};
use super::function::{ENVIRONMENT, Function, launch};
use crate::harness::PATIENCE;
use crate::mysql::Database;
use crate::process::free_port;
use crate::stack::TOKEN;

/// Longer than a database connection is trusted without being tried.
const FREEZE: Duration = Duration::from_millis(1_100);

/// A database with its schema, and the inventory over it.
async fn inventory() -> (Function, Database) {
    let database = Database::new().await;
    database.open().await.close().await;
    let function = Function::start("muster-inventory", &[("MUSTER_DATABASE_URL", &database.url())]).await;
    (function, database)
}

/// The connections that others have to a database, by the server's ids.
async fn connections(database: &Database) -> Vec<i64> {
    let others = "select cast(id as signed) from information_schema.processlist \
                  where db = database() and id <> connection_id() order by id";
    let db = database.pool();
    let found: Vec<(i64,)> = shared::read!(&db, c => sqlx::query_as(others).fetch_all(c).await).unwrap();
    db.close().await;
    found.into_iter().map(|(id,)| id).collect()
}

/// Closes connections from the server's side.
async fn kill(database: &Database, connections: &[i64]) {
    let db = database.pool();
    for id in connections {
        let kill = AssertSqlSafe(format!("kill connection {id}"));
        // It may have been closed meanwhile, as the one is by which they were counted.
        shared::read!(&db, c => sqlx::query(kill).execute(c).await.map(drop)).ok();
    }
    db.close().await;
}

#[tokio::test]
async fn the_inventory_answers_requests_of_every_kind() {
    let (function, _database) = inventory().await;
    let server = |name: &str| Some(json!({ "hostname": name, "group": "web" }));
    assert_eq!(function.ask(request("POST", "/api/servers", server("a"))).await.0, 201);
    assert_eq!(function.ask(rest_request("POST", "/api/servers", server("b"))).await.0, 201);
    let (status, servers) = function.ask(rest_request("GET", "/api/servers", None)).await;
    assert_eq!((status, &servers[0]["hostname"], &servers[1]["hostname"]), (200, &json!("a"), &json!("b")));
    let (status, said) = function.ask(request("GET", "/api/nothing", None)).await;
    assert_eq!((status, said["detail"].is_string()), (404, true));
    let mut stranger = request("GET", "/api/servers", None);
    stranger["headers"]["authorization"] = json!("Bearer of nothing, really");
    assert_eq!(function.ask(stranger).await.0, 401);
    assert_eq!(function.ask(request("GET", "/readyz", None)).await, (200, json!({ "database": "ok" })));
}

#[tokio::test]
async fn an_unknown_event_is_an_error_and_the_process_lives_on() {
    let (function, _database) = inventory().await;
    for event in [json!({ "Records": [] }), json!(null), json!([]), json!({ "requestContext": 1 })] {
        let error = function.invoke(event.clone()).await.unwrap_err();
        assert_eq!(error["errorType"], "BadInput", "{event}: {error}");
        assert!(error["errorMessage"].as_str().unwrap().contains("send only"), "{event}: {error}");
    }
    assert_eq!(function.invoke(scheduled()).await, Ok(json!(null)), "it has no chores, which is no error");
    assert_eq!(function.ask(request("GET", "/api/servers", None)).await, (200, json!([])));
}

#[tokio::test]
async fn a_warm_function_keeps_its_connections_and_makes_new_ones_after_a_freeze() {
    let (function, database) = inventory().await;
    let list = || request("GET", "/api/servers", None);
    assert_eq!(function.ask(list()).await.0, 200);
    let first = connections(&database).await;
    for _ in 0..9 {
        assert_eq!(function.ask(list()).await.0, 200);
    }
    // A second one is made when the next event is faster than the return of the first to its pool. The one
    // by which they were counted may still be there.
    let start = Instant::now();
    let before = loop {
        let now = connections(&database).await;
        if now.starts_with(&first) && now.len() <= 2 {
            break now;
        }
        assert!(start.elapsed() < PATIENCE, "{first:?} became {now:?}");
    };
    function.freeze();
    kill(&database, &before).await;
    tokio::time::sleep(FREEZE).await;
    function.thaw();
    assert_eq!(function.ask(list()).await, (200, json!([])));
    assert!(connections(&database).await.iter().all(|id| !before.contains(id)), "new ones");
}

/// Waits until somebody listens on a port.
async fn until_listening(port: u16) {
    let start = Instant::now();
    while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
        assert!(start.elapsed() < PATIENCE, "nobody listens on {port}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn the_gateway_passes_requests_on_and_tells_who_is_away() {
    let (database, folder) = (Database::new().await, tempfile::tempdir().unwrap());
    database.open().await.close().await;
    let (port, nobody) = (free_port(), format!("http://127.0.0.1:{}", free_port()));
    let (url, listen) = (database.url(), format!("127.0.0.1:{port}"));
    let vars = [("MUSTER_DATABASE_URL", url.as_str()), ("MUSTER_LISTEN", &listen), ("MUSTER_API_TOKEN", TOKEN)];
    let _inventory = launch(&folder, "muster-inventory", &vars).start();
    until_listening(port).await;
    let inventory = format!("http://{listen}");
    let vars = [
        ("MUSTER_INVENTORY_URL", inventory.as_str()),
        ("MUSTER_TASKS_URL", &nobody),
        ("MUSTER_RESULT_INGESTOR_URL", &nobody),
    ];
    let gateway = Function::start("muster-gateway", &vars).await;
    let server = Some(json!({ "hostname": "a" }));
    assert_eq!(gateway.ask(request("POST", "/api/servers", server)).await.0, 201);
    let (status, servers) = gateway.ask(request("GET", "/api/servers", None)).await;
    assert_eq!((status, &servers[0]["hostname"]), (200, &json!("a")));
    let (status, said) = gateway.ask(request("GET", "/api/tasks", None)).await;
    assert!((502..=504).contains(&status) && said["detail"].is_string(), "{status} {said}");
    assert_eq!(gateway.ask(request("GET", "/api/health", None)).await.0, 503);
}

#[test]
fn what_is_missing_stops_the_start_with_its_name() {
    for (missing, _) in ENVIRONMENT {
        let folder = tempfile::tempdir().unwrap();
        let mut vars: Vec<_> = ENVIRONMENT.into_iter().filter(|(name, _)| *name != missing).collect();
        vars.push(("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:9"));
        let launch = launch(&folder, "muster-gateway", &vars);
        assert_eq!(launch.run().code(), Some(2), "{missing}: {}", launch.said());
        assert!(launch.said().contains(missing), "{missing}: {}", launch.said());
    }
}
