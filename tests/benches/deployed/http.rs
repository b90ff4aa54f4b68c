//! A client that costs next to nothing: one connection that is kept, and no more of HTTP than the
//! gateway answers with.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use serde_json::Value;

use crate::stack::TOKEN;

/// A connection to the gateway.
pub struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Connection {
    /// Connects to `http://host:port`.
    pub fn open(url: &str) -> Self {
        let stream = TcpStream::connect(url.strip_prefix("http://").unwrap()).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, received: Vec::new() }
    }

    /// Posts a command and returns its task's id.
    pub fn send(&mut self, body: &str) -> String {
        let length = body.len();
        let head = format!(
            "POST /api/commands HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
        );
        self.stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
        let answer = self.answer();
        assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
        let json = &answer[answer.find('{').unwrap()..=answer.rfind('}').unwrap()];
        serde_json::from_str::<Value>(json).unwrap()["task_id"].as_str().unwrap().to_owned()
    }

    fn answer(&mut self) -> String {
        self.received.clear();
        let mut buffer = [0; 8 * 1024];
        while !is_complete(&self.received) {
            let read = self.stream.read(&mut buffer).unwrap();
            assert!(read > 0, "the answer broke off");
            self.received.extend_from_slice(&buffer[..read]);
        }
        String::from_utf8(self.received.clone()).unwrap()
    }
}

/// Whether an answer is there as a whole: as long as it says, or with its last chunk.
fn is_complete(received: &[u8]) -> bool {
    let text = std::str::from_utf8(received).unwrap_or_default();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let head = head.to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    match length {
        Some(length) => body.len() >= length.trim().parse().unwrap(),
        None => body.ends_with("0\r\n\r\n"),
    }
}
