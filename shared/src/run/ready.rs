//! `--ready`: a program asks the one of its name that runs on this machine whether it is ready, and
//! ends with 0 if so. For whoever watches over a container that holds this one program and nothing that
//! could send a request.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use crate::error::{Error, Result};

/// How long it may take to connect, and then each time to hear something.
const TIMEOUT: Duration = Duration::from_secs(3);

/// What an answer begins with that says yes.
const YES: &[u8; 12] = b"HTTP/1.1 200";

/// Asks the service that listens on `listen`.
pub fn ask(listen: SocketAddr) -> Result<()> {
    let answer = status(reachable(listen)).map_err(|error| {
        Error::unavailable(format!("nothing answers on {listen}; is it running, with the same MUSTER_LISTEN?"))
            .because(error)
    })?;
    (answer == *YES).then_some(()).ok_or_else(|| Error::unavailable("it runs and is not ready; /readyz tells why"))
}

/// Where to knock: who listens on every address is reached by loopback.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

fn status(address: SocketAddr) -> std::io::Result<[u8; YES.len()]> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.write_all(format!("GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut start = [0; YES.len()];
    stream.read_exact(&mut start)?;
    Ok(start)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use tokio::net::TcpSocket;

    use super::*;

    /// Asks a listener that gives this answer, and says what came of it.
    fn answered(answer: &'static str) -> Result<()> {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        let listen = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 512];
            let length = stream.read(&mut request).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8_lossy(&request[..length]).into_owned()
        });
        let outcome = ask(listen);
        assert!(server.join().unwrap().starts_with("GET /readyz HTTP/1.1\r\nHost: 127.0.0.1:"));
        outcome
    }

    #[test]
    fn only_a_200_is_a_yes() {
        assert!(answered("HTTP/1.1 200 OK\r\n\r\n").is_ok());
        assert!(answered("HTTP/1.1 503 Service Unavailable\r\n\r\n").is_err());
        assert!(answered("").is_err());
    }

    #[test]
    fn nobody_there_is_a_no() {
        let held = TcpSocket::new_v4().unwrap(); // bound, and never listening
        held.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        assert!(ask(held.local_addr().unwrap()).unwrap_err().detail().contains("MUSTER_LISTEN"));
    }
}
