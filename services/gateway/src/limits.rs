//! What the gateway allows its callers, and the services behind it. Tests ask for less, so that they
//! need not wait as long.

use std::num::NonZeroU32;
use std::time::Duration;

use shared::http::layers::REQUEST_TIMEOUT;

/// Requests a second that one caller may make unless the settings say otherwise; for a moment it may
/// be twice as many.
const RATE_PER_SEC: NonZeroU32 = NonZeroU32::new(200).unwrap();
/// From passing a request on to the head of its answer, further tries included. A little less than the
/// layers around the gateway allow, so that the answer can name the service that is late.
const HEAD_TIMEOUT: Duration = REQUEST_TIMEOUT.saturating_sub(Duration::from_secs(1));
/// How long the body of an answer may be silent. A whole body has no limit: long lists are streamed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a connection to a service may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a service may take to say how it is: it needs 5 s itself to find its database away.
const PROBE_TIMEOUT: Duration = Duration::from_secs(6);

/// The limits.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Requests a second that one caller may make; `None` means any number.
    pub rate: Option<NonZeroU32>,
    /// How long the head of an answer may take.
    pub head: Duration,
    /// How long the body of an answer may be silent.
    pub idle: Duration,
    /// How long a connection may take.
    pub connect: Duration,
    /// How long a service may take to say how it is.
    pub probe: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            rate: Some(RATE_PER_SEC),
            head: HEAD_TIMEOUT,
            idle: IDLE_TIMEOUT,
            connect: CONNECT_TIMEOUT,
            probe: PROBE_TIMEOUT,
        }
    }
}
