//! Messages that Amazon MQ for RabbitMQ's event source took from their queues. It acknowledges an event
//! as a whole, when the function did not fail; so each message is judged, and only then is anything
//! done about it:
//!
//! - If one has to come again, the event fails, and all of it comes again. Handlers do not mind.
//! - Else the dead are buried here. A message that can never be handled must not fail its event, which
//!   would come back with it for ever; nor may it be buried before that is sure, and then once more at
//!   each return.
//!
//! The event's own types are read leniently, since one field that is not as expected would lose the
//! whole event.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;

use crate::bus::{Bus, Consumer, Delivery, Verdict, rabbit};
use crate::error::{Error, Result};
use crate::http::TRACEPARENT;

/// Messages by `queue::vhost`.
pub type Messages = BTreeMap<String, Vec<Record>>;

/// A message as the event source hands it over.
#[derive(Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[derive(Default)]
pub struct Record {
    basic_properties: Value,
    redelivered: Value,
    data: Value,
}

/// Hands messages to the consumers of their queues, and buries those that can never be handled.
///
/// # Errors
/// When the event has to come again.
pub async fn handle(messages: Messages, consumers: &[Consumer], bus: Option<&Bus>) -> Result<()> {
    let mut dead = Vec::new();
    for (key, records) in messages {
        let queue = key.split_once("::").map_or(key.as_str(), |(queue, _)| queue);
        let consumer = consumers.iter().find(|consumer| consumer.queue == queue);
        let (consumer, bus) = consumer.zip(bus).ok_or_else(|| unconsumed(queue))?;
        let mut deliveries: Vec<_> = records.iter().zip(0..).map(|(record, tag)| record.delivery(tag)).collect();
        while !deliveries.is_empty() {
            let rest = deliveries.split_off(consumer.batch_max.min(deliveries.len()));
            for (delivery, reason) in judge(consumer, deliveries).await? {
                dead.push((bus, consumer, delivery, reason));
            }
            deliveries = rest;
        }
    }
    for (bus, consumer, delivery, reason) in dead {
        bus.bury(&consumer.queue, delivery, &reason).await?;
    }
    Ok(())
}

/// Those of a batch that are dead, with the reason.
async fn judge(consumer: &Consumer, batch: Vec<Delivery>) -> Result<Vec<(Delivery, String)>> {
    let verdicts = consumer.judge(batch.clone()).await;
    let mut dead = Vec::new();
    for (delivery, verdict) in batch.into_iter().zip(verdicts) {
        match verdict {
            Verdict::Done => (),
            Verdict::Dead(reason) => dead.push((delivery, reason)),
            Verdict::Again => {
                return Err(Error::unavailable("messages could not be handled now; they have to be delivered again"));
            }
        }
    }
    Ok(dead)
}

fn unconsumed(queue: &str) -> Error {
    let queue = queue.escape_debug();
    Error::bad_input(format!("nothing here consumes the queue `{queue}`; give its events to the service that does"))
}

impl Record {
    fn delivery(&self, tag: u64) -> Delivery {
        let data = self.data.as_str().unwrap_or_default();
        // What is not base64 is handed on as it came, to be judged like any other nonsense.
        let body = STANDARD.decode(data).unwrap_or_else(|_| data.as_bytes().to_vec());
        let header = |name: &str| text(&self.basic_properties["headers"][name]);
        let (reason, given_up_in) = rabbit::death(header);
        Delivery {
            tag,
            body,
            traceparent: header(TRACEPARENT),
            redelivered: self.redelivered == true,
            reason,
            given_up_in,
        }
    }
}

/// A header's text, which comes as `{"bytes": […]}` or as it is.
fn text(header: &Value) -> Option<String> {
    match header {
        Value::String(text) => Some(text.clone()),
        _ => String::from_utf8(Vec::deserialize(&header["bytes"]).ok()?).ok(),
    }
}
