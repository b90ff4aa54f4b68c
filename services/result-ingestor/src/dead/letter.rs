//! From a delivery to a dead letter: why and where it was given up, which server and task it is about,
//! and whether its signature holds. Every text is made to fit its column.

use std::collections::{BTreeMap, BTreeSet};

use shared::bus::{Delivery, topology};
use shared::clock::Time;
use shared::contract::key::PlaneKey;
use shared::contract::signed::{Kind, PLANE};
use shared::error::{Error, Result};
use shared::rules::limits::{DEAD_LETTER_STUB_BYTES, ENVELOPE_BYTES_MAX};
use shared::run::Context;
use shared::sign::{Claim, KeyState, PublicKey, TrustedKey};
use shared::store;
use shared::store::dead_letter::NewLetter;
use shared::telemetry::TraceContext;

/// The longest reason in one word, in characters.
const REASON_CHARS_MAX: usize = 64;
/// The longest rest of a reason, in characters.
const DETAIL_CHARS_MAX: usize = 500;
/// The longest name of a queue (AMQP 0-9-1), in characters.
const QUEUE_CHARS_MAX: usize = 255;
/// The reason of a letter that gives none in one word.
const OTHER: &str = "other";

/// The keys that a letter may be signed with.
struct Keys {
    agents: BTreeMap<String, TrustedKey>,
    plane: BTreeMap<String, TrustedKey>,
}

/// Reads a batch, in order.
///
/// # Errors
/// Only when the database or the machine fails.
pub async fn read(ctx: &Context, deliveries: Vec<Delivery>) -> Result<Vec<NewLetter>> {
    let claims: Vec<_> = deliveries.iter().map(|delivery| Claim::read(&delivery.body)).collect();
    let keys = Keys::of(ctx, &claims).await?;
    let now = ctx.clock.now();
    let work = move || {
        let pairs = deliveries.into_iter().zip(claims);
        pairs.map(|(delivery, claim)| letter(delivery, claim, &keys, now)).collect()
    };
    // As with reports, signatures are work for a thread of its own.
    tokio::task::spawn_blocking(work).await.map_err(Error::internal)
}

impl Keys {
    async fn of(ctx: &Context, claims: &[Option<Claim>]) -> Result<Self> {
        let ids: BTreeSet<_> = claims.iter().flatten().map(Claim::keyid).collect();
        let rows = store::key::by_id(&ctx.db, &ids.into_iter().collect::<Vec<_>>()).await?;
        let agents = rows.iter().map(|row| Ok((row.keyid().to_owned(), row.trusted()?))).collect::<Result<_>>()?;
        let plane = store::signing_key::all(&ctx.db).await?.iter().map(trusted).collect::<Result<_>>()?;
        Ok(Self { agents, plane })
    }

    fn find(&self, claim: &Claim) -> Option<&TrustedKey> {
        let role = if matches!(claim.kind(), Kind::Command | Kind::Cancel) { &self.plane } else { &self.agents };
        role.get(claim.keyid())
    }
}

fn trusted(key: &PlaneKey) -> Result<(String, TrustedKey)> {
    let public = PublicKey::from_pem(&key.public_key_pem)?;
    let trusted =
        TrustedKey { owner: PLANE.to_owned(), key: public, algorithm: key.algorithm, state: KeyState::Active };
    Ok((key.keyid.clone(), trusted))
}

fn letter(delivery: Delivery, claim: Option<Claim>, keys: &Keys, now: Time) -> NewLetter {
    let (reason, detail) = reason(delivery.reason.unwrap_or_default());
    let queue: String = delivery.given_up_in.unwrap_or_default().chars().take(QUEUE_CHARS_MAX).collect();
    let size = delivery.body.len();
    let mut body = delivery.body;
    if size > ENVELOPE_BYTES_MAX {
        body.truncate(DEAD_LETTER_STUB_BYTES);
    }
    let sender = claim.as_ref().and_then(Claim::hostname);
    NewLetter {
        reason,
        detail,
        hostname: topology::agent_of(&queue).map(str::to_owned).or(sender),
        queue,
        kind: claim.as_ref().map(|claim| claim.kind().as_str()),
        task_id: claim.as_ref().and_then(Claim::task_id),
        verified: claim.is_some_and(|claim| {
            let key = keys.find(&claim);
            claim.holds(key, now)
        }),
        traceparent: delivery.traceparent.filter(|text| TraceContext::parse(text).is_some()),
        size,
        body,
        redelivered: delivery.redelivered,
    }
}

/// `word: the rest` apart. What does not begin with a word is all rest.
fn reason(text: String) -> (String, Option<String>) {
    let (word, rest) = text.split_once(": ").unwrap_or((&text, ""));
    let is_word = (1..=REASON_CHARS_MAX).contains(&word.len())
        && word.bytes().all(|byte| byte.is_ascii_lowercase() || matches!(byte, b'_' | b'-'));
    let (word, rest) = if is_word { (word, rest) } else { (OTHER, text.as_str()) };
    let rest: String = rest.chars().take(DETAIL_CHARS_MAX).collect();
    (word.to_owned(), (!rest.is_empty()).then_some(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_a_word_and_its_rest() {
        let long = "x".repeat(2_000);
        for (text, word, rest) in [
            ("bad_signature", "bad_signature", None),
            ("not_storable: disk on fire: again", "not_storable", Some("disk on fire: again")),
            ("delivery-limit", "delivery-limit", None),
            ("", "other", None),
            ("Two Words", "other", Some("Two Words")),
            ("\u{1b}[2J: x", "other", Some("\u{1b}[2J: x")),
            (long.as_str(), "other", Some(&long[..DETAIL_CHARS_MAX])),
        ] {
            assert_eq!(reason(text.to_owned()), (word.to_owned(), rest.map(str::to_owned)), "{text}");
        }
    }
}
