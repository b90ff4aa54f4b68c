//! Servers, and when they were last heard of.

use sqlx::QueryBuilder;

use crate::clock::Time;
use crate::contract::server::{NewServer, Presence, Server};
use crate::contract::signed::Heartbeat;
use crate::contract::task::TargetType;
use crate::db::{Db, Tx, row};
use crate::error::{Error, Result};
use crate::rules::limits::ONLINE_WITHIN;
use crate::{on, read};

row! {
    #[derive(Debug)]
    struct Row {
        hostname: String,
        ip: Option<String>,
        group: Option<String>,
        last_heartbeat: Option<i64>,
        cpu_usage: Option<f64>,
        memory_usage: Option<f64>,
        agent_version: Option<String>,
    }
}

impl Row {
    fn server(self, now: Time) -> Server {
        let last = self.last_heartbeat.map(Time);
        let online = last.is_some_and(|last| now < last.plus(ONLINE_WITHIN));
        Server {
            hostname: self.hostname,
            ip: self.ip,
            group: self.group,
            status: if online { Presence::Online } else { Presence::Offline },
            last_heartbeat: last,
            cpu_usage: self.cpu_usage,
            memory_usage: self.memory_usage,
            agent_version: self.agent_version,
        }
    }
}

/// Adds a server; a conflict when the hostname is taken.
pub async fn insert(tx: &mut Tx, server: &NewServer, now: Time) -> Result<()> {
    let outcome = on!(tx, c => sqlx::query("insert into servers (hostname, ip, `group`, created_at) values (?, ?, ?, ?)")
        .bind(&server.hostname).bind(&server.ip).bind(&server.group).bind(now.0).execute(c).await.map(drop));
    super::on_unique(outcome, || {
        Error::conflict(format!(
            "a server named `{}` exists already; delete it first or choose another name",
            server.hostname
        ))
    })
}

/// One server.
pub async fn find(db: &Db, hostname: &str, now: Time) -> Result<Option<Server>> {
    let row: Option<Row> = read!(db, c => sqlx::query_as(
        "select hostname, ip, `group`, last_heartbeat, cpu_usage, memory_usage, agent_version from servers where hostname = ?")
        .bind(hostname).fetch_optional(c).await)?;
    Ok(row.map(|row| row.server(now)))
}

/// Servers by name, those after `after`.
pub async fn page(db: &Db, after: &str, limit: usize, now: Time) -> Result<Vec<Server>> {
    let rows: Vec<Row> = read!(db, c => sqlx::query_as(
        "select hostname, ip, `group`, last_heartbeat, cpu_usage, memory_usage, agent_version from servers
         where hostname > ? order by hostname limit ?")
        .bind(after).bind(limit as i64).fetch_all(c).await)?;
    Ok(rows.into_iter().map(|row| row.server(now)).collect())
}

/// Sets those of address and group that are given; `false` when there is no such server.
pub async fn update(
    tx: &mut Tx,
    hostname: &str,
    ip: Option<Option<&str>>,
    group: Option<Option<&str>>,
) -> Result<bool> {
    let changed = on!(tx, c => sqlx::query("update servers set ip = case when ? then ? else ip end,
            `group` = case when ? then ? else `group` end where hostname = ?")
        .bind(ip.is_some()).bind(ip.flatten()).bind(group.is_some()).bind(group.flatten())
        .bind(hostname).execute(c).await.map(|done| done.rows_affected()))?;
    Ok(changed > 0)
}

/// Removes a server; `false` when there is none.
pub async fn delete(tx: &mut Tx, hostname: &str) -> Result<bool> {
    let changed = on!(tx, c => sqlx::query("delete from servers where hostname = ?")
        .bind(hostname).execute(c).await.map(|done| done.rows_affected()))?;
    Ok(changed > 0)
}

/// The servers that a target means right now, sorted by name.
pub async fn targets(db: &Db, kind: TargetType, target: Option<&str>) -> Result<Vec<String>> {
    let names: Vec<(String,)> = match kind {
        TargetType::All => {
            read!(db, c => sqlx::query_as("select hostname from servers order by hostname").fetch_all(c).await)?
        }
        TargetType::Group => {
            read!(db, c => sqlx::query_as("select hostname from servers where `group` = ? order by hostname")
            .bind(target).fetch_all(c).await)?
        }
        TargetType::Node => read!(db, c => sqlx::query_as("select hostname from servers where hostname = ?")
            .bind(target).fetch_all(c).await)?,
    };
    Ok(names.into_iter().map(|(name,)| name).collect())
}

/// Which of these servers are registered.
pub async fn registered(db: &Db, hostnames: &[&str]) -> Result<Vec<String>> {
    if hostnames.is_empty() {
        return Ok(Vec::new());
    }
    let rows: Vec<(String,)> = read!(db, c => {
        let mut query = QueryBuilder::new("select hostname from servers where hostname in (");
        let mut list = query.separated(", ");
        for hostname in hostnames {
            list.push_bind(*hostname);
        }
        query.push(")");
        query.build_query_as().fetch_all(c).await
    })?;
    Ok(rows.into_iter().map(|(hostname,)| hostname).collect())
}

row! {
    /// The newest heartbeat known of a server.
    #[derive(Clone, Debug)]
    pub struct Beat {
        /// The server.
        pub hostname: String,
        /// The agent's run.
        pub boot_id: Option<String>,
        /// Its counter.
        pub counter: Option<i64>,
    }
}

/// The newest heartbeats of those of `hostnames` that are registered.
pub async fn beats(tx: &mut Tx, hostnames: &[&str]) -> Result<Vec<Beat>> {
    if hostnames.is_empty() {
        return Ok(Vec::new());
    }
    Ok(on!(tx, c => {
        let mut query = QueryBuilder::new("select hostname, boot_id, heartbeat_counter from servers where hostname in (");
        let mut list = query.separated(", ");
        for hostname in hostnames {
            list.push_bind(*hostname);
        }
        query.push(")");
        query.build_query_as().fetch_all(c).await
    })?)
}

/// Stores a heartbeat that was received at `now`.
pub async fn beat(tx: &mut Tx, beat: &Heartbeat, now: Time) -> Result<()> {
    on!(tx, c => sqlx::query("update servers set last_heartbeat = ?, cpu_usage = ?, memory_usage = ?, agent_version = ?,
            boot_id = ?, heartbeat_counter = ? where hostname = ?")
        .bind(now.0).bind(beat.cpu_usage).bind(beat.memory_usage).bind(&beat.agent_version)
        .bind(&beat.boot_id).bind(i64::try_from(beat.counter).unwrap_or(i64::MAX)).bind(&beat.iss)
        .execute(c).await.map(drop))?;
    Ok(())
}
