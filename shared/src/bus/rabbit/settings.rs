//! How to reach the broker, checked before anything is tried, so that a wrong setting stops the
//! start with its name. The URL holds a password and is never shown.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lapin::tcp::OwnedTLSConfig;
use lapin::types::LongString;
use lapin::uri::AMQPUri;

use crate::config::key::{BROKER_CA_FILE, BROKER_URL};
use crate::error::{Error, Result};

/// How often either side shows that it is alive. One that is silent for two of these is gone; the
/// default of a minute leaves a frozen broker unnoticed for two.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// The largest frame, in bytes: the least that RabbitMQ allows. lapin fills 64 of them with zeros
/// for every connection, and a larger body is simply sent in more frames.
const FRAME_BYTES_AGENT: u32 = 8 * 1024;
/// The same where much goes through few connections.
const FRAME_BYTES_PLANE: u32 = 64 * 1024;
/// Deliveries that an agent may hold unsettled: it only has to write them down.
const PREFETCH_AGENT: u16 = 64;
/// The same for the plane: a batch that is handled, and one that waits.
const PREFETCH_PLANE: u16 = 400;

/// Whose bus it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A service of the plane, which declares all there is at the broker.
    Plane,
    /// An agent, which declares nothing.
    Agent,
}

/// How to reach the broker.
#[derive(Clone)]
pub struct Settings {
    /// `amqp://user:password@host:port/vhost`, or `amqps://`.
    pub url: String,
    /// The CA that the broker's certificate may come from.
    pub ca_file: Option<PathBuf>,
    /// Whose bus it is.
    pub role: Role,
    /// What operators see the connection by.
    pub name: String,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url: _, ca_file, role, name } = self;
        f.debug_struct("Settings").field("ca_file", ca_file).field("role", role).field("name", name).finish()
    }
}

/// The settings, read.
#[derive(Clone)]
pub(super) struct Target {
    pub uri: AMQPUri,
    pub tls: OwnedTLSConfig,
    pub role: Role,
    pub name: LongString,
}

impl Settings {
    pub(super) fn target(&self) -> Result<Target> {
        let cert_chain = self.ca_file.as_deref().map(ca).transpose()?;
        Ok(Target {
            uri: self.uri()?,
            tls: OwnedTLSConfig { identity: None, cert_chain },
            role: self.role,
            name: self.name.as_str().into(),
        })
    }

    fn uri(&self) -> Result<AMQPUri> {
        // The parser's own complaint may repeat the password. It takes an IPv6 address for localhost.
        let bracketed = self.url.contains("@[") || self.url.contains("//[");
        let uri = self.url.parse::<AMQPUri>().ok().filter(|_| !bracketed);
        let mut uri = uri.ok_or_else(|| {
            Error::bad_input(format!(
                "{} must be amqp://user:password@host:5672/vhost or amqps://…, with a host's name or IPv4 address",
                BROKER_URL.name
            ))
        })?;
        uri.query.heartbeat = u16::try_from(HEARTBEAT.as_secs()).ok();
        uri.query.frame_max = Some(match self.role {
            Role::Plane => FRAME_BYTES_PLANE,
            Role::Agent => FRAME_BYTES_AGENT,
        });
        Ok(uri)
    }
}

impl Target {
    pub const fn prefetch(&self) -> u16 {
        match self.role {
            Role::Plane => PREFETCH_PLANE,
            Role::Agent => PREFETCH_AGENT,
        }
    }
}

fn ca(path: &Path) -> Result<String> {
    let complaint = |why: String| Error::bad_input(format!("{}: `{}` {why}", BROKER_CA_FILE.name, path.display()));
    let pem = std::fs::read_to_string(path).map_err(|error| complaint(format!("cannot be read: {error}")))?;
    if pem.contains("-----BEGIN CERTIFICATE-----") {
        return Ok(pem);
    }
    Err(complaint("holds no certificate in PEM".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(url: &str) -> Settings {
        Settings { url: url.to_owned(), ca_file: None, role: Role::Agent, name: "test".to_owned() }
    }

    #[test]
    fn a_bad_url_is_named_and_not_shown() {
        for url in ["", "secret", "http://u:secret@h/", "amqp://u:secret@h:port/", "amqp://u:secret@[::1]:5672/"] {
            let error = settings(url).target().err().unwrap();
            assert!(error.detail().contains("MUSTER_BROKER_URL") && !error.detail().contains("secret"), "{url}");
        }
        assert!(!format!("{:?}", settings("amqp://u:secret@h/")).contains("secret"));
    }

    #[test]
    fn a_ca_that_is_none_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        let settings = Settings { ca_file: Some(path.clone()), ..settings("amqps://h/") };
        assert!(settings.target().err().unwrap().detail().contains("MUSTER_BROKER_CA_FILE"));
        std::fs::write(&path, "nothing of the kind").unwrap();
        assert!(settings.target().err().unwrap().detail().contains("no certificate"));
    }
}
