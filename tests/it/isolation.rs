//! One bad report, in each place of a batch: it goes to the dead letters for its own reason, and all
//! others are stored as if it had not been there.

use shared::bus::{Address, Message, Verdict, topology};
use shared::contract::signed::Kind;
use shared::db::Db;
use shared::on;
use shared::rules::invocation::Ending;
use shared::sign::{Envelope, Inbound};

use crate::steps::{Parts, START, keys, open, over_both, result};

/// Reports in a batch.
const BATCH: usize = 5;
/// The exit code that the databases of this test dislike.
const DISLIKED: i32 = 77;

#[derive(Clone, Copy)]
enum Bad {
    Unparsable,
    Forged,
    UnknownTask,
    Disliked,
}

impl Bad {
    const ALL: [Self; 4] = [Self::Unparsable, Self::Forged, Self::UnknownTask, Self::Disliked];

    const fn reason(self) -> &'static str {
        match self {
            Self::Unparsable => "malformed",
            Self::Forged => "unknown_key",
            Self::UnknownTask => "unknown_task",
            Self::Disliked => "not_storable: ",
        }
    }

    /// Spoils a report that answers a command of this task.
    fn report(self, task: &str, digest: &str) -> Vec<u8> {
        let mut body = result(task, digest, Ending::Failed, "");
        match self {
            Self::Unparsable => return b"{\"payloadType\":".to_vec(),
            Self::UnknownTask => body.task_id = "0".repeat(32),
            Self::Disliked => body.exit_code = DISLIKED,
            Self::Forged => (),
        }
        let key = if matches!(self, Self::Forged) { &keys()[0] } else { &keys()[1] };
        signed(key, &body)
    }
}

fn signed(key: &shared::sign::SigningKey, body: &shared::contract::signed::ResultReport) -> Vec<u8> {
    Envelope::sign(Kind::Result, serde_json::to_vec(body).unwrap(), key).unwrap().to_json().into_bytes()
}

/// Makes the database refuse one result for a reason that only it knows.
async fn dislike(parts: &Parts) {
    let sql = match &parts.ctx.db {
        Db::Lite(_) => {
            "create trigger dislikes before insert on results when new.exit_code = 77 begin select raise(abort, 'no'); end"
        }
        Db::My(_) => {
            "create trigger dislikes before insert on results for each row
             begin if new.exit_code = 77 then signal sqlstate '45000' set message_text = 'no'; end if; end"
        }
    };
    let mut tx = parts.ctx.db.begin().await.unwrap();
    on!(&mut tx, c => sqlx::raw_sql(sql).execute(c).await.map(drop)).unwrap();
    tx.commit().await.unwrap();
}

/// Tasks that wait for their results, each with its command's digest.
async fn tasks(parts: &Parts) -> Vec<(String, String)> {
    for _ in 0..BATCH {
        parts.send().await;
    }
    parts.relay().await;
    let deliveries = parts.take().await;
    let command = |delivery| match open(delivery, START) {
        Inbound::Command(command) => (command.body().task_id.clone(), command.digest().to_owned()),
        Inbound::Cancel(_) => panic!("nobody cancels here"),
    };
    deliveries.iter().map(command).collect()
}

/// The reasons of the dead letters so far, which are settled.
async fn dead(parts: &Parts) -> Vec<String> {
    let mut hold = parts.ctx.bus.subscribe(topology::DEAD).await.unwrap();
    let taken = hold.take(100).await.unwrap();
    hold.settle(taken.iter().map(|letter| (letter.tag, Verdict::Done)).collect()).await.unwrap();
    taken.into_iter().filter_map(|letter| letter.reason).collect()
}

async fn one_bad_report_never_holds_back_its_batch(parts: Parts) {
    dislike(&parts).await;
    for bad in Bad::ALL {
        for place in 0..BATCH {
            let tasks = tasks(&parts).await;
            let report = |(at, (task, digest)): (usize, &(String, String))| {
                let good = || signed(&keys()[1], &result(task, digest, Ending::Succeeded, "good"));
                let body = if at == place { bad.report(task, digest) } else { good() };
                Message { address: Address::Report(Kind::Result, "a".to_owned()), body, traceparent: None, ttl: None }
            };
            parts.ctx.bus.publish(tasks.iter().enumerate().map(report).collect()).await;
            parts.ingest().await;
            let reasons = dead(&parts).await;
            assert_eq!(reasons.len(), 1, "{reasons:?}");
            assert!(reasons[0].starts_with(bad.reason()), "{reasons:?} in place {place}");
            for (at, (task, _)) in tasks.iter().enumerate() {
                let expected = if at == place { "sent" } else { "succeeded" };
                assert_eq!(parts.state(task).await, expected, "{} in place {place}, task {at}", bad.reason());
            }
        }
    }
}
over_both!(one_bad_report_never_holds_back_its_batch);
