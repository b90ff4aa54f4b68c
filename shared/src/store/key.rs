//! Client keys: who may speak for a server. Nothing is ever deleted, so that an old result can be
//! checked again; a replaced key retires, a deleted one is revoked.
//!
//! A server has one key in use, also when two processes change it at the same moment, and before it is
//! registered, when it has no row to lock: the database refuses a second `active_hostname`, which it makes
//! of the state itself. No change is made to a key that another transaction has changed since it was
//! looked at.

use sqlx::QueryBuilder;

use crate::clock::Time;
use crate::contract::key::{Algorithm, ClientKey};
use crate::db::{Db, Tx, row};
use crate::error::{Error, Result};
use crate::rules::limits::KEY_RETIRES_AFTER;
use crate::sign::{KeyState, PublicKey, TrustedKey};
use crate::{on, read};

const ACTIVE: &str = "active";
const RETIRING: &str = "retiring";
const REVOKED: &str = "revoked";

row! {
    /// A key as it is stored.
    #[derive(Clone, Debug)]
    pub struct KeyRow {
        keyid: String,
        hostname: String,
        algorithm: String,
        public_key_pem: String,
        state: String,
        created_at: i64,
        updated_at: i64,
        retire_at: Option<i64>,
    }
}

impl KeyRow {
    /// Its id.
    pub fn keyid(&self) -> &str {
        &self.keyid
    }

    fn algorithm(&self) -> Result<Algorithm> {
        let algorithm = Algorithm::parse(&self.algorithm);
        algorithm.ok_or_else(|| super::inconsistent("client_keys", "algorithm", &self.algorithm))
    }

    /// The key as the API shows it.
    pub fn shown(self) -> Result<ClientKey> {
        Ok(ClientKey {
            algorithm: self.algorithm()?,
            hostname: self.hostname,
            public_key_pem: self.public_key_pem,
            created_at: Time(self.created_at),
            updated_at: Time(self.updated_at),
            keyid: self.keyid,
        })
    }

    /// The key as the verifier needs it.
    pub fn trusted(&self) -> Result<TrustedKey> {
        let state = match (self.state.as_str(), self.retire_at) {
            (ACTIVE, _) => KeyState::Active,
            (RETIRING, Some(until)) => KeyState::RetiringUntil(Time(until)),
            (REVOKED, _) => KeyState::Revoked,
            _ => return Err(super::inconsistent("client_keys", "state", &self.state)),
        };
        let key = PublicKey::from_pem(&self.public_key_pem)?;
        Ok(TrustedKey { owner: self.hostname.clone(), key, algorithm: self.algorithm()?, state })
    }
}

/// The key that a host uses now.
pub async fn active(db: &Db, hostname: &str) -> Result<Option<KeyRow>> {
    Ok(read!(db, c => sqlx::query_as(
        "select keyid, hostname, algorithm, public_key_pem, state, created_at, updated_at, retire_at
         from client_keys where hostname = ? and state = 'active'").bind(hostname).fetch_optional(c).await)?)
}

/// The keys in use by hostname, those after `after`.
pub async fn page(db: &Db, after: &str, limit: usize) -> Result<Vec<KeyRow>> {
    Ok(read!(db, c => sqlx::query_as(
        "select keyid, hostname, algorithm, public_key_pem, state, created_at, updated_at, retire_at
         from client_keys where hostname > ? and state = 'active' order by hostname limit ?")
        .bind(after).bind(limit as i64).fetch_all(c).await)?)
}

/// Those of the keys with these ids that exist, whatever has become of them.
pub async fn by_id(db: &Db, keyids: &[&str]) -> Result<Vec<KeyRow>> {
    if keyids.is_empty() {
        return Ok(Vec::new());
    }
    Ok(read!(db, c => {
        let mut query = QueryBuilder::new(
            "select keyid, hostname, algorithm, public_key_pem, state, created_at, updated_at, retire_at
             from client_keys where keyid in (");
        let mut list = query.separated(", ");
        for keyid in keyids {
            list.push_bind(*keyid);
        }
        query.push(")");
        query.build_query_as().fetch_all(c).await
    })?)
}

/// Makes `key` the one that `hostname` uses; the one before retires. The same key again changes
/// nothing; a key keeps the algorithm that it came with, since what it signed must stay verifiable.
/// A new key signs with PS256 unless `algorithm` says otherwise.
///
/// # Errors
/// Bad input when another host has the key, when it was revoked, or is known with another algorithm.
/// Contended when somebody else changed the same keys at that moment.
pub async fn put(tx: &mut Tx, hostname: &str, key: &PublicKey, algorithm: Option<Algorithm>, now: Time) -> Result<()> {
    let known: Vec<KeyRow> = on!(tx, c => sqlx::query_as(
        "select keyid, hostname, algorithm, public_key_pem, state, created_at, updated_at, retire_at
         from client_keys where keyid = ? or (hostname = ? and state = 'active')")
        .bind(key.keyid()).bind(hostname).fetch_all(c).await)?;
    let same = known.iter().find(|row| row.keyid == key.keyid());
    if let Some(same) = same {
        refuse(same, hostname, algorithm)?;
        if same.state == ACTIVE {
            return Ok(());
        }
    }
    let current = known.iter().find(|row| row.hostname == hostname && row.state == ACTIVE);
    if let Some(current) = current {
        retire(tx, &current.keyid, now).await?;
    }
    let created_at = current.or(same).map_or(now.0, |row| row.created_at);
    if same.is_some() {
        return reinstate(tx, key.keyid(), now).await;
    }
    let pem = key.to_pem()?;
    let algorithm = algorithm.unwrap_or_default();
    let outcome = on!(tx, c => sqlx::query(
        "insert into client_keys (keyid, hostname, algorithm, public_key_pem, state, created_at, updated_at)
         values (?, ?, ?, ?, 'active', ?, ?)")
        .bind(key.keyid()).bind(hostname).bind(algorithm.as_str()).bind(pem).bind(created_at).bind(now.0)
        .execute(c).await.map(drop));
    super::on_unique(outcome, Error::contended)
}

fn refuse(known: &KeyRow, hostname: &str, algorithm: Option<Algorithm>) -> Result<()> {
    if known.hostname != hostname {
        return Err(taken());
    }
    if known.state == REVOKED {
        return Err(Error::bad_input("`public_key_pem` must not be a revoked key; make a new pair on the server"));
    }
    if algorithm.is_some_and(|algorithm| algorithm.as_str() != known.algorithm) {
        let detail = "`algorithm` must stay what it was for this key; make a new pair for another one";
        return Err(Error::bad_input(detail));
    }
    Ok(())
}

fn taken() -> Error {
    Error::bad_input("`public_key_pem` must be this server's own; another server has this key already")
}

async fn retire(tx: &mut Tx, keyid: &str, now: Time) -> Result<()> {
    let retired = on!(tx, c => sqlx::query(
        "update client_keys set state = 'retiring', retire_at = ? where keyid = ? and state = 'active'")
        .bind(now.plus(KEY_RETIRES_AFTER).0).bind(keyid).execute(c).await.map(|done| done.rows_affected()))?;
    unless_contended(retired)
}

async fn reinstate(tx: &mut Tx, keyid: &str, now: Time) -> Result<()> {
    let outcome = on!(tx, c => sqlx::query(
        "update client_keys set state = 'active', retire_at = null, updated_at = ?
         where keyid = ? and state = 'retiring'")
        .bind(now.0).bind(keyid).execute(c).await.map(|done| done.rows_affected()));
    unless_contended(super::on_unique(outcome, Error::contended)?)
}

/// One row was to be changed. If it was none, it is no longer as it was when it was read.
fn unless_contended(changed: u64) -> Result<()> {
    if changed == 1 { Ok(()) } else { Err(Error::contended()) }
}

/// Revokes the keys of a host that still count; `false` when it has none in use.
pub async fn revoke(tx: &mut Tx, hostname: &str, now: Time) -> Result<bool> {
    let in_use: Option<(String,)> = on!(tx, c => sqlx::query_as("select keyid from client_keys where hostname = ? and state = 'active'")
        .bind(hostname).fetch_optional(c).await)?;
    if in_use.is_none() {
        return Ok(false);
    }
    on!(tx, c => sqlx::query("update client_keys set state = 'revoked', updated_at = ? where hostname = ? and state <> 'revoked'")
        .bind(now.0).bind(hostname).execute(c).await.map(drop))?;
    Ok(true)
}
