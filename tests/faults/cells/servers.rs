//! Database and broker die, stand still, and take nothing in. They are the suite's own.

use std::path::PathBuf;
use std::time::Duration;

use futures::FutureExt as _;
use nix::sys::signal::Signal;
use shared::bus::Bus;
use shared::bus::rabbit::{self, Role};
use shared::db::{Db, My, my};
use shared::error::chain;
use sqlx::{Connection as _, MySqlConnection};

use crate::cell::{Cell, Ground, Lane};
use crate::mysql;
use crate::rig::Rig;
use crate::server::Server;

/// How long a server stays away, or takes nothing in.
const AWAY: Duration = Duration::from_secs(3);
const LONG: Duration = Duration::from_secs(60);
/// Commands that are sent meanwhile.
const COMMANDS: usize = 15;
/// As much memory as the broker uses anyway, and its default, as parts of the machine's.
const NO_MEMORY: &str = "0.00001";
const ENOUGH_MEMORY: &str = "0.4";

pub fn lane() -> Lane {
    let mut cells = vec![
        dies("kill -9 MariaDB", |rig| &mut rig.servers.as_mut().unwrap().mariadb),
        dies("kill -9 RabbitMQ", |rig| &mut rig.servers.as_mut().unwrap().rabbitmq),
        stands_still("SIGSTOP MariaDB", |rig| &mut rig.servers.as_mut().unwrap().mariadb, AWAY),
        read_only(),
        no_connections(),
        memory_alarm(),
        strangers(),
    ];
    let long = [
        stands_still("SIGSTOP RabbitMQ", |rig| &mut rig.servers.as_mut().unwrap().rabbitmq, LONG),
        stands_still("SIGSTOP MariaDB, long", |rig| &mut rig.servers.as_mut().unwrap().mariadb, LONG),
    ];
    cells.extend(long.map(Cell::only_full));
    Lane { name: "servers", ground: Ground::Apart, cells }
}

/// Who they are is looked at: their certificate must come from the right CA and be for the host that was
/// asked for. They themselves let nobody in without TLS.
fn strangers() -> Cell {
    Cell::new(
        "certificates",
        "both servers are met with the right CA, a strange one, under another name, and without TLS",
        |rig, _| {
            async {
                rig.send(COMMANDS).await; // with the right one, as in all cells of this lane
                let own = rig.servers.as_ref().unwrap();
                let (right, strange) = (Some(own.ca()), Some(own.strange_ca()));
                let database = own.as_user(&rig.stack.database.url());
                let broker = rig.stack.vhost.plane_url();
                assert_eq!(meet_database(&database, right.clone()).await, None);
                assert_eq!(meet_broker(&broker, right.clone()).await, None);
                let elsewhere = |url: &str| url.replace("127.0.0.1", "localhost");
                for said in [
                    meet_database(&database, strange.clone()).await.unwrap(),
                    meet_database(&elsewhere(&database), right.clone()).await.unwrap(),
                    meet_broker(&broker, strange).await.unwrap(),
                    meet_broker(&elsewhere(&broker), right).await.unwrap(),
                ] {
                    assert!(said.contains("certificate"), "{said}");
                }
                let said = meet_database(&format!("{database}?ssl-mode=DISABLED"), None).await.unwrap();
                assert!(said.contains("denied"), "{said}");
                assert_ne!(meet_broker(&broker.replace("amqps:", "amqp:"), None).await, None);
            }
            .boxed()
        },
    )
}

/// What is wrong, if anything.
async fn meet_database(url: &str, ca_file: Option<PathBuf>) -> Option<String> {
    let db = Db::My(My::open(&my::Settings { url: url.to_owned(), ca_file, connections: 1 }).unwrap());
    let met = db.ping().await;
    db.close().await;
    met.err().map(|error| chain(&error).to_string())
}

async fn meet_broker(url: &str, ca_file: Option<PathBuf>) -> Option<String> {
    let settings = rabbit::Settings { url: url.to_owned(), ca_file, role: Role::Plane, name: "met".to_owned() };
    let met = Bus::rabbit(&settings).unwrap().declare("nobody").await;
    met.err().map(|error| chain(&error).to_string())
}

fn dies(name: &'static str, which: fn(&mut Rig) -> &mut Server) -> Cell {
    Cell::new(name, "killed under load, and started again", move |rig, _| {
        async move {
            let sending = rig.caller.sending(COMMANDS);
            tokio::time::sleep(Duration::from_millis(300)).await;
            which(rig).kill();
            tokio::time::sleep(AWAY).await;
            which(rig).restart().await;
            sending.done().await;
            rig.servers.as_ref().unwrap().until_steered().await;
        }
        .boxed()
    })
}

fn stands_still(name: &'static str, which: fn(&mut Rig) -> &mut Server, lasting: Duration) -> Cell {
    Cell::new(name, "paused under load", move |rig, _| {
        async move {
            let sending = rig.caller.sending(COMMANDS);
            tokio::time::sleep(Duration::from_millis(300)).await;
            which(rig).signal(Signal::SIGSTOP);
            tokio::time::sleep(lasting).await;
            which(rig).signal(Signal::SIGCONT);
            sending.done().await;
        }
        .boxed()
    })
}

async fn tell(rig: &Rig, statement: &str) {
    mysql::run(&rig.servers.as_ref().unwrap().root(), statement).await.unwrap();
}

fn read_only() -> Cell {
    Cell::new("MariaDB read-only", "the database takes no writes for a while", |rig, _| {
        async {
            let sending = rig.caller.sending(COMMANDS);
            tell(rig, "set global read_only = 1").await;
            tokio::time::sleep(AWAY).await;
            tell(rig, "set global read_only = 0").await;
            sending.done().await;
        }
        .boxed()
    })
}

fn no_connections() -> Cell {
    Cell::new("MariaDB out of connections", "others hold all connections while the services start", |rig, _| {
        async {
            tell(rig, "set global max_connections = 10").await;
            let url = rig.servers.as_ref().unwrap().as_user(&rig.stack.database.url());
            rig.kill("muster-tasks"); // gives its connections back, which others take
            let mut held = Vec::new();
            while let Ok(connection) = MySqlConnection::connect(&url).await {
                held.push(connection);
            }
            rig.revive("muster-tasks");
            let sending = rig.caller.sending(COMMANDS);
            tokio::time::sleep(AWAY).await;
            drop(held);
            tell(rig, "set global max_connections = 151").await;
            sending.done().await;
        }
        .boxed()
    })
}

/// The broker blocks who publishes. Commands are accepted all the same.
fn memory_alarm() -> Cell {
    Cell::new("RabbitMQ memory alarm", "the broker blocks publishers; commands are accepted meanwhile", |rig, _| {
        async {
            let vhost = &rig.stack.vhost;
            vhost.steer(&["set_vm_memory_high_watermark", NO_MEMORY]);
            rig.send(5).await;
            tokio::time::sleep(AWAY).await;
            vhost.steer(&["set_vm_memory_high_watermark", ENOUGH_MEMORY]);
        }
        .boxed()
    })
}
