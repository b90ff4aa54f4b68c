//! Follows a task until no server's end is open. It polls, and slower the longer it takes; the plane
//! may be away for a while. It gives up after the task's own deadline, by which the plane has
//! promised to decide.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use shared::error::{Error, Result};
use tokio::time::{Instant, sleep};

use super::picture::Picture;
use super::post::may_pass;
use super::progress::Progress;
use crate::outcome;
use crate::plane::Session;

/// The first wait between two looks.
const WAIT_FIRST: Duration = Duration::from_millis(50);
/// The longest wait, unless looking itself takes longer.
const WAIT_MOST: Duration = Duration::from_secs(1);
/// How many looks in a row may fail.
const FAILURES_MAX: u32 = 30;
/// How long after its deadline a task is still followed: the watchdog has its own rhythm.
const DEADLINE_GRACE: Duration = Duration::from_secs(60);

/// Follows it and shows each server's outcome once it is known; returns the last picture.
pub async fn follow(session: &mut Session, mut picture: Picture) -> Result<Picture> {
    let progress = Progress::new();
    let until = Instant::now() + picture.task.created_at.until(picture.task.deadline) + DEADLINE_GRACE;
    let (mut shown, mut wait, mut failures) = (BTreeSet::new(), WAIT_FIRST, 0);
    loop {
        let began = Instant::now();
        match picture.refresh(&session.client).await {
            Ok(()) => failures = 0,
            Err(error) if may_pass(&error) && failures < FAILURES_MAX => failures += 1,
            Err(error) => return Err(goes_on(error, &picture)),
        }
        progress.wipe();
        show_new(session, &picture, &mut shown)?;
        if !picture.is_open() {
            return Ok(picture);
        }
        if began > until {
            return Err(goes_on(Error::unavailable("the task is over its deadline and still open"), &picture));
        }
        progress.show(&picture.task);
        sleep(wait.max(began.elapsed())).await; // a long list is not asked for all the time
        wait = wait.mul_f32(1.5).min(WAIT_MOST);
    }
}

/// Shows the servers whose end has become known.
fn show_new(session: &mut Session, picture: &Picture, shown: &mut BTreeSet<String>) -> Result<()> {
    if session.json {
        return Ok(());
    }
    let results: BTreeMap<_, _> = picture.results.iter().map(|result| (result.hostname.as_str(), &**result)).collect();
    let ended = picture.invocations.iter().filter(|invocation| !invocation.status.is_open());
    for invocation in ended {
        if shown.insert(invocation.hostname.clone()) {
            let result = results.get(invocation.hostname.as_str()).copied();
            outcome::show(&mut session.out, invocation, result, session.now)?;
        }
    }
    Ok(())
}

fn goes_on(error: Error, picture: &Picture) -> Error {
    let detail = format!("{}; the task goes on: `muster results {}`", error.detail(), picture.task.task_id);
    Error::new(error.kind(), detail).because(error)
}
