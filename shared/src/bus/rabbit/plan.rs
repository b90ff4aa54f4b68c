//! What the plane declares at the broker, in order that nothing has to be set up there by hand.
//!
//! An argument of a queue cannot be changed later, a policy can, but only an administrator can set
//! policies. So arguments hold what Muster's promises rest on, and nothing else: the type, the single
//! active consumer, where dead letters go, and that results are delivered until they are settled. How
//! many bytes a queue may hold is the operator's matter, for a policy. Heartbeats are the exception,
//! because without their limits an absent ingestor would fill the broker's disk with them.
//!
//! Types are named, because RabbitMQ 4 lets a vhost choose another default. The delivery limit is a
//! number that is never reached: RabbitMQ 4 sets 20 where none is given, and `-1` for "none" is
//! refused by 3.x.

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ExchangeKind};

use super::answer::{answer, is_missing, short, trouble, within};
use super::link::Line;
use crate::bus::Address;
use crate::bus::topology::{COMMANDS, DEAD, DEAD_KEY, HEARTBEATS, REPORTS, RESULTS, agent_queue};
use crate::error::Result;
use crate::rules::limits::{HEARTBEAT_TTL, HEARTBEATS_WAITING_MAX};

/// So many deliveries of one message never happen.
const DELIVERIES_MAX: i64 = i32::MAX as i64;

/// What the plane's reports go by: queue and the pattern of the routing key.
const BINDINGS: [(&str, &str); 4] =
    [(RESULTS, "result.#"), (RESULTS, "event.#"), (HEARTBEATS, "heartbeat.#"), (DEAD, DEAD_KEY)];

type Arguments = Vec<(&'static str, AMQPValue)>;

/// Declares everything but the servers' queues.
pub(super) async fn declare(connection: &Connection) -> Result<()> {
    let channel = within(connection.create_channel()).await?;
    exchange(&channel, COMMANDS, ExchangeKind::Direct).await?;
    exchange(&channel, REPORTS, ExchangeKind::Topic).await?;
    queue(&channel, DEAD, quorum()).await?;
    queue(&channel, RESULTS, results()).await?;
    queue(&channel, HEARTBEATS, heartbeats()).await?;
    for (queue, key) in BINDINGS {
        bind(&channel, queue, REPORTS, key).await?;
    }
    Ok(())
}

/// Makes sure that a server has its queue, and that commands find it.
pub(super) async fn declare_agent(line: &Line, hostname: &str) -> Result<()> {
    let name = agent_queue(hostname);
    let channel = line.steering().await?;
    let one_active = ("x-single-active-consumer", AMQPValue::Boolean(true));
    queue(&channel, &name, vec![queue_type("classic"), one_active]).await?;
    let (exchange, key) = Address::Agent(hostname.to_owned()).route();
    bind(&channel, &name, exchange, &key).await
}

/// Removes a queue and what waits there.
pub(super) async fn delete(line: &Line, name: &str) -> Result<()> {
    let channel = line.steering().await?;
    within(channel.queue_delete(short(name)?, QueueDeleteOptions::default())).await.map(drop)
}

/// Whether a queue is there. Asking changes nothing.
pub(super) async fn is_there(connection: &Connection, name: &str) -> Result<bool> {
    let channel = within(connection.create_channel()).await?;
    match waiting(&channel, name).await? {
        Ok(_) => Ok(true),
        Err(error) if is_missing(&error) => Ok(false),
        Err(error) => Err(trouble(error)),
    }
}

/// How many messages wait in a queue. Asking changes nothing; a refusal ends the channel.
pub(super) async fn waiting(channel: &Channel, name: &str) -> Result<lapin::Result<u32>> {
    let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    let asked = answer(channel.queue_declare(short(name)?, options, FieldTable::default())).await?;
    Ok(asked.map(|queue| queue.message_count()))
}

fn queue_type(name: &str) -> (&'static str, AMQPValue) {
    ("x-queue-type", AMQPValue::LongString(name.into()))
}

fn quorum() -> Arguments {
    vec![queue_type("quorum"), ("x-delivery-limit", AMQPValue::LongLongInt(DELIVERIES_MAX))]
}

/// What a policy of the operator's pushes out of the results must not be lost either.
fn results() -> Arguments {
    let exchange = ("x-dead-letter-exchange", AMQPValue::LongString(REPORTS.into()));
    let key = ("x-dead-letter-routing-key", AMQPValue::LongString(DEAD_KEY.into()));
    [quorum(), vec![exchange, key]].concat()
}

fn heartbeats() -> Arguments {
    let number = |limit| AMQPValue::LongLongInt(i64::try_from(limit).unwrap_or(i64::MAX));
    let ttl = ("x-message-ttl", number(HEARTBEAT_TTL.as_millis()));
    let most = ("x-max-length", number(HEARTBEATS_WAITING_MAX as u128));
    vec![queue_type("classic"), ttl, most, ("x-overflow", AMQPValue::LongString("drop-head".into()))]
}

async fn exchange(channel: &Channel, name: &str, kind: ExchangeKind) -> Result<()> {
    let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    within(channel.exchange_declare(short(name)?, kind, options, FieldTable::default())).await
}

async fn queue(channel: &Channel, name: &str, arguments: Arguments) -> Result<()> {
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    let mut table = FieldTable::default();
    for (key, value) in arguments {
        table.insert(short(key)?, value);
    }
    within(channel.queue_declare(short(name)?, options, table)).await.map(drop)
}

async fn bind(channel: &Channel, queue: &str, exchange: &str, key: &str) -> Result<()> {
    let (queue, exchange, key) = (short(queue)?, short(exchange)?, short(key)?);
    within(channel.queue_bind(queue, exchange, key, QueueBindOptions::default(), FieldTable::default())).await
}
