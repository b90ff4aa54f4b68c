//! A message as AMQP carries it, and back.

use lapin::BasicProperties;
use lapin::message::Delivery as Arrival;
use lapin::types::{AMQPValue, FieldTable, ShortString};

use super::answer::short;
use crate::bus::topology::{DEAD_KEY, REPORTS};
use crate::bus::{Address, Delivery, Message};
use crate::error::Result;
use crate::id;

/// The W3C trace context.
const TRACEPARENT: &str = "traceparent";
/// Why a message was given up.
const REASON: &str = "reason";
/// Where a message was given up.
const GIVEN_UP_IN: &str = "queue";
/// The same of a message that the broker itself gave up.
const REASON_OF_BROKER: &str = "x-first-death-reason";
const GIVEN_UP_BY_BROKER_IN: &str = "x-first-death-queue";
/// The longest reason that is kept, in bytes: headers must fit into one frame.
const REASON_BYTES_MAX: usize = 1024;
/// Every body is an envelope.
const CONTENT_TYPE: &str = "application/json";
/// AMQP's words for a message that goes to the disk, and for one that need not.
const PERSISTENT: u8 = 2;
const TRANSIENT: u8 = 1;

/// A message ready to be sent.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub exchange: ShortString,
    pub key: ShortString,
    pub properties: BasicProperties,
    pub body: Vec<u8>,
    /// Tells it apart from all others, so that one which comes back is recognised.
    pub id: String,
}

pub(super) fn outgoing(messages: Vec<Message>) -> Result<Vec<Outgoing>> {
    messages.into_iter().map(envelope).collect()
}

fn envelope(message: Message) -> Result<Outgoing> {
    let (exchange, key) = message.address.route();
    let mut sent = Outgoing::new(exchange, &key, message.body, headers(message.traceparent)?)?;
    let word = if matches!(message.address, Address::Agent(_)) { "command" } else { key_word(&key) };
    let mode = if message.address.is_durable() { PERSISTENT } else { TRANSIENT };
    sent.properties = sent.properties.with_type(short(word)?).with_delivery_mode(mode);
    if let Some(ttl) = message.ttl {
        // At least one: with none a message is thrown away unless its consumer is free that instant.
        sent.properties = sent.properties.with_expiration(short(&ttl.as_millis().max(1).to_string())?);
    }
    Ok(sent)
}

/// `result` of `result.web-1`.
fn key_word(key: &str) -> &str {
    key.split_once('.').map_or(key, |(word, _)| word)
}

/// The dead letter of a message. It goes through the reports' exchange, so that an agent needs no
/// other permission to give a message up.
pub(super) fn dead_letter(held: &Delivery, queue: &str, reason: &str) -> Result<Outgoing> {
    let mut headers = headers(held.traceparent.clone())?;
    let reason = &reason[..reason.floor_char_boundary(REASON_BYTES_MAX)];
    headers.insert(short(REASON)?, AMQPValue::LongString(reason.into()));
    headers.insert(short(GIVEN_UP_IN)?, AMQPValue::LongString(queue.into()));
    let mut sent = Outgoing::new(REPORTS, DEAD_KEY, held.body.clone(), headers)?;
    sent.properties = sent.properties.with_delivery_mode(PERSISTENT);
    Ok(sent)
}

fn headers(traceparent: Option<String>) -> Result<FieldTable> {
    let mut headers = FieldTable::default();
    if let Some(traceparent) = traceparent {
        headers.insert(short(TRACEPARENT)?, AMQPValue::LongString(traceparent.into()));
    }
    Ok(headers)
}

impl Outgoing {
    fn new(exchange: &str, key: &str, body: Vec<u8>, headers: FieldTable) -> Result<Self> {
        let id = id::random();
        let properties = BasicProperties::default()
            .with_headers(headers)
            .with_message_id(short(&id)?)
            .with_content_type(short(CONTENT_TYPE)?);
        Ok(Self { exchange: short(exchange)?, key: short(key)?, properties, body, id })
    }
}

/// A delivery as the consumers know it.
pub(super) fn delivery(arrival: Arrival) -> Delivery {
    let header = |name: &str| text(arrival.properties.headers().as_ref()?.inner().get(name)?);
    let (reason, given_up_in) = death(header);
    Delivery {
        tag: arrival.delivery_tag,
        traceparent: header(TRACEPARENT),
        reason,
        given_up_in,
        redelivered: arrival.redelivered,
        body: arrival.data,
    }
}

/// Why and in which queue a dead letter was given up, by its headers: ours, else the broker's own.
pub fn death(header: impl Fn(&str) -> Option<String>) -> (Option<String>, Option<String>) {
    let of = |ours, brokers| header(ours).or_else(|| header(brokers));
    (of(REASON, REASON_OF_BROKER), of(GIVEN_UP_IN, GIVEN_UP_BY_BROKER_IN))
}

fn text(value: &AMQPValue) -> Option<String> {
    match value {
        AMQPValue::LongString(text) => String::from_utf8(text.as_bytes().to_vec()).ok(),
        AMQPValue::ShortString(text) => Some(text.as_str().to_owned()),
        _ => None,
    }
}
