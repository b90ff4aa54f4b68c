//! A service that answers byte by byte as a test says, and counts what it was asked.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use axum::Router;
use shared::http::serve;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};

pub const OK: Answer = Answer::Say("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok");
pub const BUSY: Answer =
    Answer::Say("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\nconnection: close\r\n\r\nbusy");

/// What happens to a connection once its request's head was read.
#[derive(Clone, Copy)]
pub enum Answer {
    /// These bytes are sent, and it is closed.
    Say(&'static str),
    /// These bytes are sent, and nothing more.
    Hold(&'static str),
}

pub struct Stub {
    pub url: String,
    heads: Arc<Mutex<Vec<String>>>,
    _stop: DropGuard,
}

impl Stub {
    /// Answers the first request with the first answer, and so on; the last one serves for the rest.
    pub async fn start(answers: &'static [Answer]) -> Self {
        let (listener, url) = listen().await;
        let (heads, stop) = (Arc::new(Mutex::new(Vec::new())), CancellationToken::new());
        let (seen, stopped) = (Arc::clone(&heads), stop.clone());
        tokio::spawn(stopped.run_until_cancelled_owned(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(answer(stream, Arc::clone(&seen), answers));
            }
        }));
        Self { url, heads, _stop: stop.drop_guard() }
    }

    /// How many requests came.
    pub fn count(&self) -> usize {
        self.heads.lock().unwrap().len()
    }
}

async fn answer(mut stream: TcpStream, seen: Arc<Mutex<Vec<String>>>, answers: &[Answer]) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return, // a connection that was never used
        }
    }
    let place = {
        let mut seen = seen.lock().unwrap();
        seen.push(String::from_utf8(head).unwrap());
        seen.len() - 1
    };
    let (bytes, holds) = match answers[place.min(answers.len() - 1)] {
        Answer::Say(bytes) => (bytes, false),
        Answer::Hold(bytes) => (bytes, true),
    };
    stream.write_all(bytes.as_bytes()).await.unwrap();
    while holds && stream.read_u8().await.is_ok() {}
}

/// A service that behaves, on a free port.
pub async fn service(router: Router) -> (String, DropGuard) {
    let (listener, url) = listen().await;
    let stop = CancellationToken::new();
    tokio::spawn(serve::serve(listener, router, stop.clone()));
    (url, stop.drop_guard())
}

/// An address at which nobody listens: a socket that is bound and never listens holds it.
pub fn nowhere() -> (TcpSocket, String) {
    let held = TcpSocket::new_v4().unwrap();
    held.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let url = format!("http://{}", held.local_addr().unwrap());
    (held, url)
}

async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    (listener, url)
}
