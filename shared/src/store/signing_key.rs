//! The plane's own public keys. One that signed anything is kept for ever, so that an auditor can
//! check old commands after any rotation.

use crate::clock::Time;
use crate::contract::key::{Algorithm, PlaneKey};
use crate::db::{Db, row};
use crate::error::Result;
use crate::sign::SigningKey;
use crate::{on, read};

row! {
    #[derive(Debug)]
    struct Row {
        keyid: String,
        algorithm: String,
        public_key_pem: String,
    }
}

impl Row {
    fn key(self) -> Result<PlaneKey> {
        let algorithm = Algorithm::parse(&self.algorithm);
        let algorithm = algorithm.ok_or_else(|| super::inconsistent("signing_keys", "algorithm", &self.algorithm))?;
        Ok(PlaneKey { keyid: self.keyid, algorithm, public_key_pem: self.public_key_pem })
    }
}

/// Notes the key that this process signs with, unless it is known.
pub async fn remember(db: &Db, key: &SigningKey, now: Time) -> Result<()> {
    let pem = key.public().to_pem()?;
    let mut tx = db.begin().await?;
    on!(&mut tx, c => sqlx::query("insert into signing_keys (keyid, algorithm, public_key_pem, created_at)
            select ?, ?, ?, ? where not exists (select 1 from signing_keys where keyid = ?)")
        .bind(key.keyid()).bind(key.algorithm().as_str()).bind(pem).bind(now.0).bind(key.keyid())
        .execute(c).await.map(drop))?;
    tx.commit().await
}

/// Every key, newest first.
pub async fn all(db: &Db) -> Result<Vec<PlaneKey>> {
    let rows: Vec<Row> = read!(db, c => sqlx::query_as(
        "select keyid, algorithm, public_key_pem from signing_keys order by created_at desc, keyid").fetch_all(c).await)?;
    rows.into_iter().map(Row::key).collect()
}
