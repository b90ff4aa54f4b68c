//! Servers, and when they were last heard of.

use sqlx::QueryBuilder;

use crate::clock::Time;
use crate::contract::server::{NewServer, Presence, Server};
use crate::contract::signed::Heartbeat;
use crate::contract::task::TargetType;
use crate::db::{Db, Tx, row};
use crate::error::{Error, Result};
use crate::rules::limits::{CLONE_TURNS_MIN, CLONE_TURNS_WITHIN, FORK_SHOWN_FOR, ONLINE_WITHIN};
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
        trouble: Option<String>,
        turns: Option<i64>,
        turned_at: Option<i64>,
        forked_at: Option<i64>,
    }
}

/// Servers as they are shown.
const SHOWN: &str =
    "select s.hostname, s.ip, s.`group`, s.last_heartbeat, s.cpu_usage, s.memory_usage, s.agent_version,
    s.trouble, r.turns, r.turned_at, r.forked_at from servers s left join server_runs r on r.hostname = s.hostname ";

/// What is said of a server where two agents live.
const CLONED: &str = "two agents use the identity of this server; stop the one that is a copy, remove its folder and enrol it under a name of its own";
/// What is said of a server whose disk went back.
const FORKED: &str = "its agent does not know of its own last run: the server was copied, or an older state of its disk was put back; a command that was under way then may run a second time";

impl Row {
    fn warnings(&self, now: Time) -> Vec<String> {
        let forked = self.forked_at.is_some_and(|at| now <= Time(at).plus(FORK_SHOWN_FOR));
        let cloned = is_cloned(self.turns.unwrap_or(0), Time(self.turned_at.unwrap_or(0)), now);
        let signs = [(cloned, CLONED), (forked, FORKED)];
        let signs = signs.into_iter().filter(|(shown, _)| *shown).map(|(_, sentence)| sentence.to_owned());
        signs.chain(self.trouble.clone()).collect()
    }

    fn server(self, now: Time) -> Server {
        let last = self.last_heartbeat.map(Time);
        let online = last.is_some_and(|last| now < last.plus(ONLINE_WITHIN));
        Server {
            warnings: self.warnings(now),
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
    let row: Option<Row> = read!(db, c => {
        let mut query = QueryBuilder::new(SHOWN);
        query.push("where s.hostname = ").push_bind(hostname);
        query.build_query_as().fetch_optional(c).await
    })?;
    Ok(row.map(|row| row.server(now)))
}

/// Servers by name, those after `after`.
pub async fn page(db: &Db, after: &str, limit: usize, now: Time) -> Result<Vec<Server>> {
    let rows: Vec<Row> = read!(db, c => {
        let mut query = QueryBuilder::new(SHOWN);
        query.push("where s.hostname > ").push_bind(after);
        query.push(" order by s.hostname limit ").push_bind(limit as i64);
        query.build_query_as().fetch_all(c).await
    })?;
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
    on!(tx, c => sqlx::query("delete from server_runs where hostname = ?").bind(hostname).execute(c).await.map(drop))?;
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

/// A run of an agent, and its newest heartbeat that counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Its name.
    pub boot_id: String,
    /// The heartbeat's number.
    pub counter: u64,
}

/// The greatest run besides the one that spoke last, and what was noticed when they took turns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Earlier {
    /// The run.
    pub run: Run,
    /// How often an earlier run spoke again, each time soon after the time before.
    pub turns: i64,
    /// When that was the last time.
    pub turned_at: Time,
    /// When a run last showed that its journal does not know the run before.
    pub forked_at: Option<Time>,
}

impl Earlier {
    /// A run of which nothing bad is known.
    pub const fn of(run: Run) -> Self {
        Self { run, turns: 0, turned_at: Time(0), forked_at: None }
    }
}

/// What is known of a server's agent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// The run that spoke last.
    pub run: Option<Run>,
    /// Another one.
    pub earlier: Option<Earlier>,
}

impl Known {
    /// Whether two agents seem to share the server's identity.
    pub fn is_cloned(&self, now: Time) -> bool {
        self.earlier.as_ref().is_some_and(|earlier| is_cloned(earlier.turns, earlier.turned_at, now))
    }
}

fn is_cloned(turns: i64, turned_at: Time, now: Time) -> bool {
    turns >= CLONE_TURNS_MIN && now <= turned_at.plus(CLONE_TURNS_WITHIN)
}

row! {
    struct Runs {
        hostname: String,
        boot_id: Option<String>,
        heartbeat_counter: Option<i64>,
        other_id: Option<String>,
        other_counter: Option<i64>,
        turns: Option<i64>,
        turned_at: Option<i64>,
        forked_at: Option<i64>,
    }
}

impl Runs {
    fn known(self) -> (String, Known) {
        let run = |(boot_id, counter): (String, i64)| Run { boot_id, counter: counter.cast_unsigned() };
        let earlier = |run| Earlier {
            run,
            turns: self.turns.unwrap_or(0),
            turned_at: Time(self.turned_at.unwrap_or(0)),
            forked_at: self.forked_at.map(Time),
        };
        let known = Known {
            run: self.boot_id.zip(self.heartbeat_counter).map(run),
            earlier: self.other_id.zip(self.other_counter).map(run).map(earlier),
        };
        (self.hostname, known)
    }
}

/// What is known of the agents of those of `hostnames` that are registered.
pub async fn known(tx: &mut Tx, hostnames: &[&str]) -> Result<Vec<(String, Known)>> {
    if hostnames.is_empty() {
        return Ok(Vec::new());
    }
    let rows: Vec<Runs> = on!(tx, c => {
        let mut query = QueryBuilder::new("select s.hostname, s.boot_id, s.heartbeat_counter, r.boot_id as other_id,
                r.counter as other_counter, r.turns, r.turned_at, r.forked_at
            from servers s left join server_runs r on r.hostname = s.hostname where s.hostname in (");
        let mut list = query.separated(", ");
        for hostname in hostnames {
            list.push_bind(*hostname);
        }
        query.push(")");
        query.build_query_as().fetch_all(c).await
    })?;
    Ok(rows.into_iter().map(Runs::known).collect())
}

/// Stores a heartbeat that was received at `now`.
pub async fn beat(tx: &mut Tx, beat: &Heartbeat, now: Time) -> Result<()> {
    on!(tx, c => sqlx::query("update servers set last_heartbeat = ?, cpu_usage = ?, memory_usage = ?, agent_version = ?,
            boot_id = ?, heartbeat_counter = ?, trouble = ? where hostname = ?")
        .bind(now.0).bind(beat.cpu_usage).bind(beat.memory_usage).bind(&beat.agent_version)
        .bind(&beat.boot_id).bind(i64::try_from(beat.counter).unwrap_or(i64::MAX)).bind(&beat.trouble).bind(&beat.iss)
        .execute(c).await.map(drop))?;
    Ok(())
}

/// Stores what is known of a server's earlier run. That changes when an agent starts.
pub async fn remember(tx: &mut Tx, hostname: &str, earlier: &Earlier) -> Result<()> {
    on!(tx, c => sqlx::query("delete from server_runs where hostname = ?").bind(hostname).execute(c).await.map(drop))?;
    on!(tx, c => sqlx::query("insert into server_runs (hostname, boot_id, counter, turns, turned_at, forked_at)
            values (?, ?, ?, ?, ?, ?)")
        .bind(hostname).bind(&earlier.run.boot_id).bind(i64::try_from(earlier.run.counter).unwrap_or(i64::MAX))
        .bind(earlier.turns).bind(earlier.turned_at.0).bind(earlier.forked_at.map(|at| at.0))
        .execute(c).await.map(drop))?;
    Ok(())
}
