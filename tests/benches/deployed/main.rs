//! Figures of the deployed plane: the released programs as processes of their own, over the MySQL or
//! MariaDB and the RabbitMQ of this machine, each figure in a database and a virtual host of its own.
//! Each stands beside its floors: what the parts of the work take on the same machine in the same
//! minutes. Nothing is asserted on times; a figure that cannot be taken stops the run.
//!
//! Names after `--` choose figures; without names all of them are measured.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a measurement that cannot go on says so")]

mod accept;
#[path = "../../it/answer.rs"]
#[expect(dead_code, reason = "shared with the tests")]
mod answer;
mod cpu;
mod fleet;
mod floors;
#[path = "../../it/harness.rs"]
#[expect(dead_code, reason = "shared with the tests")]
mod harness;
mod http;
mod idle;
mod ingest;
#[path = "../../it/mysql.rs"]
mod mysql;
#[path = "../../it/process.rs"]
#[expect(dead_code, reason = "shared with the tests")]
mod process;
mod roundtrip;
#[path = "../embedded/sample.rs"]
mod sample;
#[path = "../../it/stack.rs"]
#[expect(dead_code, reason = "shared with the tests")]
mod stack;
#[path = "../../it/vhost.rs"]
mod vhost;

use std::future::Future;
use std::pin::Pin;

type Figure = fn() -> Pin<Box<dyn Future<Output = ()>>>;

const FIGURES: [(&str, Figure); 5] = [
    ("roundtrip", || Box::pin(roundtrip::measure())),
    ("accept", || Box::pin(accept::measure())),
    ("ingest", || Box::pin(ingest::measure())),
    ("fleet", || Box::pin(fleet::measure())),
    ("idle", || Box::pin(idle::measure())),
];

fn main() {
    let asked: Vec<_> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for (name, figure) in FIGURES {
        if asked.is_empty() || asked.iter().any(|one| one == name) {
            println!("\n{name}");
            runtime.block_on(figure());
        }
    }
}
