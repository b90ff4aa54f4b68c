//! Figures of the embedded plane, each beside the floor that its parts set on the same machine in
//! the same minute. Run with `cargo build --release && cargo bench -p muster-tests`, on a quiet
//! machine; names after `--` choose single figures. `docs/performance.md` explains what is measured.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a measurement that cannot go on says so")]

mod lists;
mod million;
mod process;
mod roundtrip;
mod sample;
mod signing;

use std::future::Future;
use std::pin::Pin;

type Figure = fn() -> Pin<Box<dyn Future<Output = ()>>>;

const FIGURES: [(&str, Figure); 7] = [
    ("signing", || Box::pin(async { signing::measure() })),
    ("roundtrip", || Box::pin(roundtrip::measure())),
    ("servers", || Box::pin(lists::servers())),
    ("tasks", || Box::pin(lists::tasks())),
    ("stream", || Box::pin(lists::stream())),
    ("million", || Box::pin(million::measure())),
    ("process", || Box::pin(async { process::measure() })),
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
