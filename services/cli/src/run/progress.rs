//! One line on a terminal's standard error that says how far it is, wiped before anything else is
//! printed and when it goes out of scope. Into a file it says nothing.

use std::io::{self, IsTerminal as _, Write as _};

use shared::contract::task::Task;

use crate::tally::{open, tally};
use crate::terminal;

/// Back to the line's start, and erase the line (ECMA-48, EL).
const WIPE: &str = "\r\u{1b}[K";

/// The line.
pub struct Progress {
    is_terminal: bool,
}

impl Progress {
    /// Nothing is shown yet.
    pub fn new() -> Self {
        Self { is_terminal: io::stderr().is_terminal() }
    }

    /// Shows how far `task` is.
    pub fn show(&self, task: &Task) {
        let done = task.targets - open(task);
        self.say(&format!("{done} of {} done: {}", task.targets, tally(task)));
    }

    /// Shows how far something else is.
    pub fn say(&self, text: &str) {
        self.write(&format!("{WIPE}{}", terminal::line(text)));
    }

    /// Makes room for something else.
    pub fn wipe(&self) {
        self.write(WIPE);
    }

    /// A progress line that cannot be written is no reason to stop.
    fn write(&self, text: &str) {
        if self.is_terminal {
            let mut stderr = io::stderr();
            _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.wipe();
    }
}
