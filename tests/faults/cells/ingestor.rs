//! The ingestor dies at each step of a batch, also of one that the database dislikes.

use futures::FutureExt as _;
use shared::crash::Point;

use super::strike;
use crate::cell::{Cell, Ground, Lane};
use crate::mysql;
use crate::rig::Rig;

const INGESTOR: &str = "muster-result-ingestor";

/// Makes the database dislike results that come together, so that no batch of them passes whole, and no
/// result is given up: whether one comes alone is the broker's chance.
const DISLIKE_PAIRS: &str = "create trigger dislike before insert on results for each row
    if @statement <=> now(6) then signal sqlstate '45000' set message_text = 'disliked';
    else set @statement = now(6); end if";

/// Makes the database dislike the results of one server.
const DISLIKE_TWO: &str = "create trigger dislike before insert on results for each row
    if new.hostname = 'two' then signal sqlstate '45000' set message_text = 'disliked'; end if";

/// Commands whose results it meets.
const MET: usize = 6;

pub fn lane() -> Lane {
    let cells = vec![
        strike(INGESTOR, Point::IngestorReceived, "ingestor dies with a batch in its hands"),
        strike(INGESTOR, Point::IngestorInserted, "ingestor dies after the results, before the states"),
        strike(INGESTOR, Point::StatesAdvanced, "ingestor dies after the states, before the counts"),
        strike(INGESTOR, Point::IngestorWritten, "ingestor dies before the commit"),
        strike(INGESTOR, Point::IngestorCommitted, "ingestor dies after the commit, before the ack"),
        halving(),
        burying(),
    ];
    Lane { name: "ingestor", ground: Ground::Shared, cells }
}

/// Sends commands with the ingestor away, so that their results are one batch, then lets it meet them.
async fn meet(rig: &mut Rig, dislike: &str, point: Point) {
    rig.kill(INGESTOR);
    mysql::run(&rig.stack.database.url(), dislike).await.unwrap();
    let before = rig.ran("two");
    rig.send(MET).await;
    rig.until_ran("two", before + MET).await;
    rig.arm(INGESTOR, point, 1);
    rig.dead(INGESTOR, point).await;
    mysql::run(&rig.stack.database.url(), "drop trigger dislike").await.unwrap();
    rig.revive(INGESTOR);
}

fn halving() -> Cell {
    Cell::new(Point::IngestorHalving.name(), "ingestor dies in a batch that it halves", |rig, _| {
        meet(rig, DISLIKE_PAIRS, Point::IngestorHalving).boxed()
    })
}

fn burying() -> Cell {
    Cell::new(Point::DeadLetterSent.name(), "ingestor dies after a dead letter, before its original's ack", |rig, _| {
        async {
            meet(rig, DISLIKE_TWO, Point::DeadLetterSent).await;
            // The originals came again and were stored. How many letters left before the death is chance.
            rig.planted += MET;
        }
        .boxed()
    })
}
