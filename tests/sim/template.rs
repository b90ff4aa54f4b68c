//! What every seed begins with: keys, and a database with the servers in it. Both are made once.

use std::path::PathBuf;
use std::sync::OnceLock;

use shared::bus::{Bus, LocalBus};
use shared::clock::{Clock, Time};
use shared::contract::key::PlaneKey;
use shared::contract::server::NewServer;
use shared::db::{Db, Lite};
use shared::sign::SigningKey;
use shared::store;
use tempfile::TempDir;

use crate::drive::runtime;

/// When each seed begins.
pub const START: Time = Time(1_700_000_000_000);
/// The servers.
pub const HOSTS: [&str; 4] = ["a", "b", "c", "d"];

/// What every seed begins with.
pub struct Template {
    _folder: TempDir,
    /// The plane's database, with its queues.
    pub database: PathBuf,
    /// The plane's private key.
    pub plane_pem: String,
    /// Each server's.
    pub host_pems: Vec<String>,
    /// The plane's public key.
    pub plane_key: PlaneKey,
}

/// It.
pub fn template() -> &'static Template {
    static TEMPLATE: OnceLock<Template> = OnceLock::new();
    TEMPLATE.get_or_init(make)
}

/// A folder in memory where there is one: a disk's own syncs would only cost time here.
pub fn folder() -> TempDir {
    let memory = tempfile::Builder::new().prefix("muster-sim-").tempdir_in("/dev/shm");
    memory.or_else(|_| tempfile::tempdir()).unwrap()
}

fn make() -> Template {
    let keys: Vec<_> = (0..=HOSTS.len()).map(|_| SigningKey::generate().unwrap()).collect();
    let folder = folder();
    let database = folder.path().join("muster.db");
    runtime().block_on(async {
        let lite = Lite::open(&database).await.unwrap();
        let db = Db::Lite(lite.clone());
        db.migrate().await.unwrap();
        let bus = Bus::Local(LocalBus::open(lite, Clock::manual(START)).await.unwrap());
        let mut tx = db.begin().await.unwrap();
        for (hostname, key) in HOSTS.into_iter().zip(&keys[1..]) {
            let server = NewServer { hostname: hostname.to_owned(), ip: None, group: Some("web".to_owned()) };
            store::server::insert(&mut tx, &server, START).await.unwrap();
            store::key::put(&mut tx, hostname, key.public(), None, START).await.unwrap();
        }
        tx.commit().await.unwrap();
        for hostname in HOSTS {
            bus.declare(hostname).await.unwrap();
        }
        db.close().await;
    });
    let plane_key = PlaneKey {
        keyid: keys[0].keyid().to_owned(),
        algorithm: keys[0].algorithm(),
        public_key_pem: keys[0].public().to_pem().unwrap(),
    };
    let pems: Vec<_> = keys.iter().map(|key| key.to_pem().unwrap().to_string()).collect();
    Template { _folder: folder, database, plane_pem: pems[0].clone(), host_pems: pems[1..].to_vec(), plane_key }
}
