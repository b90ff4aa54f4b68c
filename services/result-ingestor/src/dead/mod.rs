//! Dead letters. They land in a queue of the broker, which keeps them while nobody is there; this
//! consumer moves them into a table, where they can be listed, and replayed or dropped one by one.
//! The ingestor does so because it knows whose reports they are, and has the hold on the broker that a
//! replay needs.
//!
//! Nothing that a letter says of itself is believed. Whoever may report may also put a message here by
//! himself, with any reason and queue he likes, so whether it is verified is judged anew.

mod letter;
mod replay;
mod routes;

use futures::future::BoxFuture;
use shared::bus::{Delivery, Handler, Verdict};
use shared::error::{Result, chain};
use shared::metrics;
use shared::run::Context;
use shared::store;

pub use replay::chore;
pub use routes::routes;

/// Handles the queue of dead letters.
pub struct DeadLetters {
    ctx: Context,
}

impl DeadLetters {
    pub const fn new(ctx: Context) -> Self {
        Self { ctx }
    }

    async fn keep(&self, deliveries: Vec<Delivery>) -> Result<()> {
        let letters = letter::read(&self.ctx, deliveries).await?;
        let now = self.ctx.clock.now();
        let kept = || async {
            // Undone by a power cut, they are delivered and kept again.
            let mut tx = self.ctx.db.begin_soft().await?;
            let evicted = store::dead_letter::keep(&mut tx, &letters, now).await?;
            tx.commit().await?;
            Ok(evicted)
        };
        let evicted = self.ctx.db.persist(kept).await?;
        letters.iter().for_each(|letter| metrics::dead_letter(&letter.reason));
        if evicted > 0 {
            metrics::dead_letters_dropped(evicted);
            tracing::warn!(dropped = evicted, "there are too many dead letters; the least worth made room");
        }
        Ok(())
    }
}

impl Handler for DeadLetters {
    fn handle(&self, deliveries: Vec<Delivery>) -> BoxFuture<'_, Vec<Verdict>> {
        Box::pin(async move {
            let number = deliveries.len();
            // Every letter fits its row, so what fails is the database and never one of them.
            let verdict = match self.keep(deliveries).await {
                Ok(()) => Verdict::Done,
                Err(error) => {
                    tracing::warn!(cause = chain(&error), "dead letters could not be kept; trying again");
                    Verdict::Again
                }
            };
            vec![verdict; number]
        })
    }
}
