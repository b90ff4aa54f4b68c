//! How the simulator lets a program work. Each program has a runtime of its own, with one thread: it
//! works only while it is driven, one program at a time, and until nothing in it can go on by itself.
//! So what happens next is decided by the seed alone. A program that ends at a write is simply not
//! driven any more: its runtime is dropped, and with it whatever it was about to do.

use std::time::{Duration, Instant};

use shared::db::lite::disk::{Faulty, Halt};
use tokio::runtime::{Builder, Runtime};

/// So many looks in a row nobody may have a connection, until a program counts as at rest: each look
/// lets every task go on that can, and what one wakes goes on in the next.
const CALM_LOOKS: u32 = 8;
/// How long a program may take to come to rest, in real time.
const REST_MAX: Duration = Duration::from_secs(60);

/// A runtime for one program.
pub fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Lets a program do its `work` and come to rest; `None` when it ended before. Then `at_end` comes
/// before anything of it is dropped: SQLite tidies up when a file is closed, and the dead do not.
pub fn drive<T>(
    runtime: &Runtime,
    halt: &Halt,
    disks: &[&Faulty],
    at_end: impl FnOnce(),
    work: impl Future<Output = T>,
) -> Option<T> {
    let mut at_end = Some(at_end);
    let still = || disks.iter().all(|disk| disk.is_still());
    let done = runtime.block_on(async {
        let worked = async {
            let done = work.await;
            rest(disks).await;
            done
        };
        // What is on its way to a file gets there: that is not the program's to stop.
        let ended = async {
            halt.ended().await;
            until("the disks are still", still).await;
            at_end.take().into_iter().for_each(|at_end| at_end());
        };
        tokio::select! {
            biased;
            () = ended => None,
            done = worked => Some(done),
        }
    });
    if halt.is_set() {
        runtime.block_on(until("the disks are still", still));
        at_end.into_iter().for_each(|at_end| at_end());
        return None;
    }
    done
}

async fn rest(disks: &[&Faulty]) {
    let mut calm = 0;
    until("the program is at rest", || {
        calm = if disks.iter().all(|disk| disk.is_idle()) { calm + 1 } else { 0 };
        calm > CALM_LOOKS
    })
    .await;
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < REST_MAX, "it does not come true that {what}");
        tokio::task::yield_now().await;
        std::thread::yield_now();
    }
}
