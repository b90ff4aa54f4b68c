//! What the parts of the work take alone.

use std::time::{Duration, Instant};

use shared::bus::{Address, Bus, Message};
use shared::contract::signed::Kind;
use shared::db::{Db, Tx};
use shared::sign::{Envelope, SigningKey};

use crate::sample::{Sample, rate};

/// How often each is taken.
const TAKINGS: usize = 200;
/// Cores that the plane is measured on.
const CORES: usize = 2;
/// How long the signing of all cores is counted.
const SIGNING: Duration = Duration::from_secs(2);
/// Rows of one transaction of a batch, as many as the ingestor takes, and how many such batches.
const BATCH_ROWS: usize = 200;
const BATCHES: usize = 50;
/// About as many bytes as an envelope has.
const BODY_BYTES: usize = 1_500;

/// One signature of 3,072 bits.
pub fn signature() -> Sample {
    let key = SigningKey::generate().unwrap();
    Sample::of(TAKINGS, || drop(Envelope::sign(Kind::Result, vec![b'x'; 500], &key).unwrap()))
}

/// Signatures of 3,072 bits a second, on both cores.
pub fn signatures() -> f64 {
    let signing = || {
        let (key, start, mut count) = (SigningKey::generate().unwrap(), Instant::now(), 0);
        while start.elapsed() < SIGNING {
            Envelope::sign(Kind::Command, vec![b'x'; 500], &key).unwrap();
            count += 1;
        }
        rate(count, start.elapsed())
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..CORES).map(|_| scope.spawn(signing)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    })
}

async fn insert(tx: &mut Tx, rows: usize) {
    let body = "x".repeat(BODY_BYTES);
    shared::later!(tx, query => {
        query.push("insert into floor (id, body) ");
        query.push_values(0..rows, |mut row, _| {
            row.push_bind(shared::id::random()).push_bind(&body);
        });
    })
    .unwrap();
}

/// A table of its own for the floors.
pub async fn table(db: &Db) {
    let mut tx = db.begin().await.unwrap();
    shared::later!(&mut tx, query => {
        query.push("create table floor (id varchar(32) primary key, body mediumtext)");
    })
    .unwrap();
    tx.commit().await.unwrap();
}

/// One commit of one row.
pub async fn commit(db: &Db) -> Sample {
    let mut sample = Sample::default();
    for _ in 0..TAKINGS {
        let start = Instant::now();
        let mut tx = db.begin().await.unwrap();
        insert(&mut tx, 1).await;
        tx.commit().await.unwrap();
        sample.push(start.elapsed());
    }
    sample
}

/// Rows a second, in the ingestor's batches.
pub async fn rows(db: &Db) -> f64 {
    let start = Instant::now();
    for _ in 0..BATCHES {
        let mut tx = db.begin().await.unwrap();
        insert(&mut tx, BATCH_ROWS).await;
        tx.commit().await.unwrap();
    }
    rate(BATCHES * BATCH_ROWS, start.elapsed())
}

/// One message published and confirmed.
pub async fn publish(bus: &Bus, to: &Address) -> Sample {
    let mut sample = Sample::default();
    for _ in 0..TAKINGS {
        let body = vec![b'x'; BODY_BYTES];
        let message = Message { address: to.clone(), body, traceparent: None, ttl: Some(Duration::from_secs(1)) };
        let start = Instant::now();
        let receipts = bus.publish(vec![message]).await;
        sample.push(start.elapsed());
        assert!(receipts.iter().all(Result::is_ok), "{receipts:?}");
    }
    sample
}

/// A shell started and ended.
pub async fn spawn() -> Sample {
    let mut sample = Sample::default();
    for _ in 0..TAKINGS {
        let start = Instant::now();
        let status = tokio::process::Command::new("/bin/sh").args(["-c", "true"]).output().await.unwrap();
        assert!(status.status.success());
        sample.push(start.elapsed());
    }
    sample
}
