//! The only door to standard output. What Muster shows was written by others: hostnames, reasons,
//! what a command printed on some server. A terminal obeys control characters, so they never reach
//! one: they are shown as `\u001b`, the form that JSON has for them too. Hence a JSON document stays
//! one when it passes here, and nobody has to remember which texts are foreign.

use std::error::Error as _;
use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write};

use serde::Serialize;
use shared::error::{Error, Result};

/// Text without what a terminal would obey or what turns text around; line breaks and tabs stay.
pub fn plain(text: &str) -> String {
    escape(&text.replace("\r\n", "\n"), |c| matches!(c, '\n' | '\t'))
}

/// The same in one line: a line break in a name must not start a line of its own.
pub fn line(text: &str) -> String {
    escape(text, |_| false)
}

fn escape(text: &str, stays: impl Fn(char) -> bool) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            c if !is_harmful(c) || stays(c) => safe.push(c),
            '\n' => safe.push_str("\\n"),
            '\t' => safe.push_str("\\t"),
            c => _ = write!(safe, "\\u{:04x}", u32::from(c)), // none of them is beyond four digits
        }
    }
    safe
}

/// Control characters of both ranges, line and paragraph separators, and what changes the direction
/// of the text around it (<https://www.unicode.org/reports/tr9/#Directional_Formatting_Characters>).
fn is_harmful(c: char) -> bool {
    let turns = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || turns || matches!(c, '\u{2028}' | '\u{2029}')
}

/// Says something on standard error. When even that is closed there is nobody left to tell.
pub fn complain(text: &str) {
    _ = writeln!(io::stderr(), "muster: {}", line(text));
}

/// Standard output.
pub struct Out {
    sink: Box<dyn Write>,
    is_terminal: bool,
}

impl Out {
    /// The process's own.
    pub fn stdout() -> Self {
        Self { sink: Box::new(io::stdout()), is_terminal: io::stdout().is_terminal() }
    }

    /// One line.
    pub fn line(&mut self, text: &str) -> Result<()> {
        self.put(&format!("{}\n", line(text)))
    }

    /// A text of several lines; into a file it goes as it is.
    pub fn text(&mut self, text: &str) -> Result<()> {
        let end = if text.ends_with('\n') { "" } else { "\n" };
        let text = self.fit(text);
        self.put(&format!("{text}{end}"))
    }

    /// What a command printed, each line behind `mark`, so that no output can pass for Muster's own
    /// words.
    pub fn quote(&mut self, mark: &str, text: &str) -> Result<()> {
        let text = self.fit(text);
        let quoted: String = text.split_terminator('\n').map(|line| format!("{mark}{line}\n")).collect();
        self.put(&quoted)
    }

    /// A document for programs.
    pub fn json(&mut self, document: &impl Serialize) -> Result<()> {
        self.text(&serde_json::to_string(document).map_err(Error::internal)?)
    }

    fn fit(&self, text: &str) -> String {
        if self.is_terminal { plain(text) } else { text.to_owned() }
    }

    fn put(&mut self, text: &str) -> Result<()> {
        let written = self.sink.write_all(text.as_bytes()).and_then(|()| self.sink.flush());
        written.map_err(|error| Error::bad_input(format!("the output cannot be written: {error}")).because(error))
    }
}

/// Whether `error` only says that nobody reads the output any more, as behind `| head`.
pub fn reader_left(error: &Error) -> bool {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<io::Error>());
    cause.is_some_and(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
pub mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;

    /// Where a test reads what was printed.
    #[derive(Clone, Default)]
    pub struct Paper(Rc<RefCell<Vec<u8>>>);

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.borrow_mut().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Paper {
        /// An output onto this paper.
        pub fn out(&self, is_terminal: bool) -> Out {
            Out { sink: Box::new(self.clone()), is_terminal }
        }

        /// What stands on it.
        pub fn read(&self) -> String {
            String::from_utf8(self.0.take()).unwrap()
        }
    }

    fn printed(is_terminal: bool, print: impl FnOnce(&mut Out)) -> String {
        let paper = Paper::default();
        print(&mut paper.out(is_terminal));
        paper.read()
    }

    #[test]
    fn nothing_that_a_terminal_obeys_passes() {
        let foreign = "a\u{1b}]0;title\u{7}\u{1b}[2J\r\u{8}\u{7f}\u{9b}31m\u{85}\u{202e}\u{2066}\u{200f}\u{2028}\0z";
        for safe in [plain(foreign), line(foreign)] {
            assert!(!safe.chars().any(|c| c.is_control() || is_harmful(c)), "{safe:?}");
            assert!(safe.starts_with("a\\u001b]0;title\\u0007") && safe.ends_with("\\u0000z"), "{safe}");
        }
    }

    #[test]
    fn what_people_write_passes() {
        let text = "total 20\n\tdrwx — 前端 ünï 👩‍💻\n";
        assert_eq!(plain(text), text);
        assert_eq!(plain("one\r\ntwo"), "one\ntwo");
        assert_eq!(line("one\ntwo\t3"), "one\\ntwo\\t3");
    }

    #[test]
    fn json_stays_json_on_a_terminal() {
        let value = serde_json::json!({"stdout": "\u{9b}31m\u{202e}\u{1b}[0m\n"});
        let shown = printed(true, |out| out.json(&value).unwrap());
        assert!(!shown.trim_end().chars().any(is_harmful), "{shown:?}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
    }

    #[test]
    fn a_file_gets_the_bytes_and_a_terminal_does_not() {
        let quote = |out: &mut Out| out.quote("  | ", "\u{1b}[1mhi\nyou").unwrap();
        assert_eq!(printed(false, quote), "  | \u{1b}[1mhi\n  | you\n");
        assert_eq!(printed(true, quote), "  | \\u001b[1mhi\n  | you\n");
        assert_eq!(printed(false, |out| out.line("web\u{1b}\n2").unwrap()), "web\\u001b\\n2\n");
    }

    #[test]
    fn a_reader_who_left_is_told_from_a_full_disk() {
        let failed = |kind: io::ErrorKind| Error::bad_input("x").because(io::Error::from(kind));
        assert!(reader_left(&failed(io::ErrorKind::BrokenPipe)));
        assert!(!reader_left(&failed(io::ErrorKind::StorageFull)) && !reader_left(&Error::bad_input("x")));
    }
}
