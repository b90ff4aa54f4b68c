//! What a command writes, in bounded memory.
//!
//! The first bytes say what it set out to do and the last how it ended, so the head and the tail of a
//! stream are kept and its middle is dropped. Reading goes on beyond the limit: a full pipe would
//! stop the command, and an early close would kill it.

use std::collections::VecDeque;

use tokio::io::{AsyncRead, AsyncReadExt};

/// Bytes read at a time; a quarter of a pipe's usual capacity. Larger ones measured no faster.
const CHUNK: usize = 16 * 1024;

/// One stream's output as text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Captured {
    /// What was kept. Bytes that are not UTF-8 have become U+FFFD, so that it can take up to three
    /// times the bytes that were kept.
    pub text: String,
    /// How many bytes were written, kept or not.
    pub bytes: u64,
    /// A part was left out; a line in `text` says where and how much.
    pub truncated: bool,
}

impl From<&str> for Captured {
    fn from(text: &str) -> Self {
        Self { text: text.to_owned(), bytes: text.len() as u64, truncated: false }
    }
}

/// Takes a stream in and keeps its head and tail.
pub(super) struct Capture {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    head_limit: usize,
    tail_limit: usize,
    bytes: u64,
}

impl Capture {
    pub fn new(head_limit: usize, tail_limit: usize) -> Self {
        Self { head: Vec::new(), tail: VecDeque::new(), head_limit, tail_limit, bytes: 0 }
    }

    /// Reads until the stream ends. May be dropped at any await: what was read stays.
    pub async fn fill(&mut self, stream: Option<impl AsyncRead + Unpin>) {
        let Some(mut stream) = stream else { return };
        let mut chunk = vec![0; CHUNK];
        // A pipe that cannot be read any more has ended as well.
        while let Ok(read @ 1..) = stream.read(&mut chunk).await {
            self.push(&chunk[..read]);
        }
    }

    fn push(&mut self, chunk: &[u8]) {
        self.bytes += chunk.len() as u64;
        let room = (self.head_limit - self.head.len()).min(chunk.len());
        let (head, rest) = chunk.split_at(room);
        self.head.extend_from_slice(head);
        self.tail.extend(rest);
        let surplus = self.tail.len().saturating_sub(self.tail_limit);
        self.tail.drain(..surplus);
    }

    pub fn into_text(mut self) -> Captured {
        let truncated = self.bytes > (self.head.len() + self.tail.len()) as u64;
        let text = if truncated {
            let head = without_split_end(&self.head);
            let tail = without_split_start(self.tail.make_contiguous());
            let left_out = self.bytes - (head.len() + tail.len()) as u64;
            format!(
                "{}\n[muster: {left_out} bytes left out]\n{}",
                String::from_utf8_lossy(head),
                String::from_utf8_lossy(tail)
            )
        } else {
            self.head.extend(self.tail);
            String::from_utf8_lossy(&self.head).into_owned()
        };
        Captured { text, bytes: self.bytes, truncated }
    }
}

/// `bytes` without the beginning of a character that the cut divided.
fn without_split_end(bytes: &[u8]) -> &[u8] {
    let last = bytes.utf8_chunks().last().map_or(&[][..], |chunk| chunk.invalid());
    match std::str::from_utf8(last) {
        Err(error) if error.error_len().is_none() => &bytes[..bytes.len() - last.len()],
        _ => bytes,
    }
}

/// `bytes` without the rest of a character that the cut divided: at most three bytes.
fn without_split_start(bytes: &[u8]) -> &[u8] {
    let continues = |byte: &&u8| **byte & 0b1100_0000 == 0b1000_0000;
    let rest = bytes.iter().take(3).take_while(continues).count();
    &bytes[rest..]
}
