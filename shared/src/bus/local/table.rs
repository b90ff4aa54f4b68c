//! The tables of the embedded bus. They belong to SQLite alone, so they are made here and are no
//! part of the common schema.

use sqlx::{QueryBuilder, Sqlite};

use super::queue::{Death, Stored};
use crate::bus::topology::is_agent_queue;
use crate::clock::Time;
use crate::db::Lite;
use crate::error::Result;
use crate::rules::limits::INSERT_ROWS;

const SCHEMA: [&str; 3] = [
    "create table if not exists bus_queues (name text not null primary key) without rowid",
    "create table if not exists bus_messages (id integer primary key, queue text not null, body blob not null,
        traceparent text, expires_at integer, reason text, given_up_in text)",
    "create index if not exists bus_messages_by_queue on bus_messages (queue)",
];

pub(super) async fn create(lite: &Lite) -> Result<()> {
    let mut tx = lite.begin();
    for statement in SCHEMA {
        sqlx::query(statement).execute(tx.connection().await?).await?;
    }
    tx.commit().await?;
    widen(lite).await
}

/// Adds the column that a file of before dead letters knew their queue does not have.
async fn widen(lite: &Lite) -> Result<()> {
    let mut tx = lite.begin();
    let known: i64 =
        sqlx::query_scalar("select count(*) from pragma_table_info('bus_messages') where name = 'given_up_in'")
            .fetch_one(tx.connection().await?)
            .await?;
    if known == 0 {
        sqlx::query("alter table bus_messages add column given_up_in text").execute(tx.connection().await?).await?;
    }
    Ok(tx.commit().await?)
}

pub(super) async fn queues(lite: &Lite) -> Result<Vec<String>> {
    let rows: Vec<(String,)> =
        sqlx::query_as("select name from bus_queues").fetch_all(lite.reader().await?.connection()?).await?;
    Ok(rows.into_iter().map(|(name,)| name).collect())
}

type Row = (i64, String, i64, Option<String>, Option<i64>, Option<String>, Option<String>);

/// Every message with its queue, in order, without the bodies.
pub(super) async fn messages(lite: &Lite) -> Result<Vec<(String, Stored)>> {
    let rows: Vec<Row> = sqlx::query_as(
        "select id, queue, length(body), traceparent, expires_at, reason, given_up_in from bus_messages order by id",
    )
    .fetch_all(lite.reader().await?.connection()?)
    .await?;
    let stored = |(id, queue, size, traceparent, expires_at, reason, given_up_in): Row| {
        let size = usize::try_from(size).unwrap_or(0);
        let expires_at = expires_at.map(Time);
        let death = reason.map(|reason| Death { reason, queue: given_up_in.unwrap_or_default() });
        (queue, Stored { id, durable: true, size, body: None, traceparent, expires_at, death, redelivered: true })
    };
    Ok(rows.into_iter().map(stored).collect())
}

/// A message's body; `None` when the message is gone.
pub(super) async fn body(lite: &Lite, id: i64) -> Result<Option<Vec<u8>>> {
    let row: Option<(Vec<u8>,)> = sqlx::query_as("select body from bus_messages where id = ?")
        .bind(id)
        .fetch_optional(lite.reader().await?.connection()?)
        .await?;
    Ok(row.map(|(body,)| body))
}

pub(super) async fn declare(lite: &Lite, name: &str) -> Result<()> {
    let mut tx = lite.begin();
    sqlx::query("insert or ignore into bus_queues (name) values (?)")
        .bind(name)
        .execute(tx.connection().await?)
        .await?;
    Ok(tx.commit().await?)
}

pub(super) async fn delete(lite: &Lite, name: &str) -> Result<()> {
    let mut tx = lite.begin();
    sqlx::query("delete from bus_messages where queue = ?").bind(name).execute(tx.connection().await?).await?;
    sqlx::query("delete from bus_queues where name = ?").bind(name).execute(tx.connection().await?).await?;
    Ok(tx.commit().await?)
}

/// Writes what must survive a restart: after this a message is confirmed.
///
/// Reports go to the disk, because their agents forget them in files of their own. Commands need
/// not wait for it: the outbox forgets them in this very file, later in the same log, so a power cut
/// that takes a command back takes that back too.
pub(super) async fn insert(lite: &Lite, routed: &[(String, Stored)]) -> Result<()> {
    let durable: Vec<_> = routed.iter().filter(|(_, stored)| stored.durable).collect();
    for chunk in durable.chunks(INSERT_ROWS) {
        let insert = |query: &mut QueryBuilder<Sqlite>| {
            query.push("insert into bus_messages (id, queue, body, traceparent, expires_at, reason, given_up_in) ");
            query.push_values(chunk, |mut row, (queue, stored)| {
                row.push_bind(stored.id)
                    .push_bind(queue)
                    .push_bind(stored.body.as_deref().unwrap_or_default())
                    .push_bind(&stored.traceparent)
                    .push_bind(stored.expires_at.map(|at| at.0))
                    .push_bind(stored.death.as_ref().map(|death| &death.reason))
                    .push_bind(stored.death.as_ref().map(|death| &death.queue));
            });
        };
        if chunk.iter().all(|(queue, _)| is_agent_queue(queue)) {
            lite.write_soft(insert).await?;
        } else {
            lite.write(insert).await?;
        }
    }
    Ok(())
}

/// Removes what is done with. Losing this to a power cut only means one more delivery.
pub(super) async fn remove(lite: &Lite, ids: &[i64]) -> Result<()> {
    for chunk in ids.chunks(INSERT_ROWS) {
        lite.write_soft(|query| {
            query.push("delete from bus_messages where id in (");
            let mut list = query.separated(", ");
            for id in chunk {
                list.push_bind(*id);
            }
            query.push(")");
        })
        .await?;
    }
    Ok(())
}

/// Replaces messages, given by their ids, by their dead letters, in one step. A power cut may take that
/// back as a whole; then the messages are there again, and judged again.
pub(super) async fn bury(lite: &Lite, queue: &str, graves: &[(i64, Stored)]) -> Result<()> {
    let mut tx = lite.begin_soft();
    for (id, grave) in graves {
        sqlx::query("delete from bus_messages where id = ?").bind(id).execute(tx.connection().await?).await?;
        sqlx::query(
            "insert into bus_messages (id, queue, body, traceparent, reason, given_up_in) values (?, ?, ?, ?, ?, ?)",
        )
        .bind(grave.id)
        .bind(queue)
        .bind(grave.body.as_deref().unwrap_or_default())
        .bind(&grave.traceparent)
        .bind(grave.death.as_ref().map(|death| &death.reason))
        .bind(grave.death.as_ref().map(|death| &death.queue))
        .execute(tx.connection().await?)
        .await?;
    }
    Ok(tx.commit().await?)
}
