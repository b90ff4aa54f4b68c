//! How often one caller may ask: as a caller counts whoever comes with one identity from one address.
//! Whom being on the plane's own machine is enough for is its owner, and asks as often as they like.
//!
//! The table of callers cannot outgrow the requests: who has not asked for two seconds is like
//! somebody who never did, and is forgotten at the next sweep.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota};
use http::HeaderValue;
use http::header::RETRY_AFTER;
use shared::error::{Error, Kind};
use shared::http::guard::LOCAL;
use shared::http::{CALLER, Peer};

/// Requests between two sweeps of the table.
const SWEEP_EVERY: u32 = 4_096;
/// What a caller may ask for at once, in seconds of its rate.
const BURST_SECS: NonZeroU32 = NonZeroU32::new(2).unwrap();

/// Who calls: an identity, and where it calls from.
type Caller = (HeaderValue, Option<IpAddr>);

/// The callers, and how much each has asked for of late.
#[derive(Clone)]
pub struct Rate(Arc<Table>);

struct Table {
    callers: DefaultKeyedRateLimiter<Caller>,
    since_sweep: AtomicU32,
}

impl Rate {
    /// Every caller may ask so often in a second.
    pub fn new(per_sec: NonZeroU32) -> Self {
        let quota = Quota::per_second(per_sec).allow_burst(per_sec.saturating_mul(BURST_SECS));
        Self(Arc::new(Table { callers: DefaultKeyedRateLimiter::keyed(quota), since_sweep: AtomicU32::new(0) }))
    }

    /// Counts a request, or says how long to wait.
    fn admit(&self, caller: &Caller) -> Result<(), Duration> {
        if self.0.since_sweep.fetch_add(1, Ordering::Relaxed) == SWEEP_EVERY {
            self.0.since_sweep.store(0, Ordering::Relaxed);
            self.0.callers.retain_recent();
            self.0.callers.shrink_to_fit();
        }
        self.0.callers.check_key(caller).map_err(|until| until.wait_time_from(DefaultClock::default().now()))
    }
}

/// Lets a request pass unless its caller has asked too often.
pub async fn layer(State(rate): State<Rate>, request: Request, next: Next) -> Response {
    match caller(&request).map_or(Ok(()), |caller| rate.admit(&caller)) {
        Ok(()) => next.run(request).await,
        Err(wait) => too_many(wait),
    }
}

/// Who has to be counted, if anybody.
fn caller(request: &Request) -> Option<Caller> {
    let name = request.headers().get(CALLER).filter(|name| *name != LOCAL)?;
    let peer = request.extensions().get().map(|Peer(ip)| network(*ip));
    Some((name.clone(), peer))
}

/// Whoever has one IPv6 address usually has 2⁶⁴ of them.
fn network(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
    }
}

fn too_many(wait: Duration) -> Response {
    let secs = wait.as_secs() + 1; // rounded up
    let mut response =
        Error::new(Kind::TooMany, format!("too many requests from you; ask again in {secs} s")).into_response();
    response.headers_mut().insert(RETRY_AFTER, secs.into());
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(ip: &str) -> Caller {
        (HeaderValue::from_static("token"), Some(network(ip.parse().unwrap())))
    }

    #[test]
    fn each_caller_has_a_limit_of_its_own() {
        let rate = Rate::new(NonZeroU32::MIN);
        assert!((0..2).all(|_| rate.admit(&from("192.0.2.1")).is_ok()));
        assert!(rate.admit(&from("192.0.2.1")).is_err_and(|wait| wait <= Duration::from_secs(1)));
        assert!(rate.admit(&from("192.0.2.2")).is_ok());
        assert!((0..2).all(|n| rate.admit(&from(&format!("2001:db8::{n}"))).is_ok()));
        assert!(rate.admit(&from("2001:db8::ffff")).is_err(), "a network of one caller's own");
        assert!(rate.admit(&from("2001:db8:0:1::1")).is_ok());
    }

    #[test]
    fn callers_are_forgotten() {
        let rate = Rate::new(NonZeroU32::new(1_000_000).unwrap());
        for n in 0..10 * SWEEP_EVERY {
            let ip = std::net::Ipv4Addr::from_bits(n);
            assert!(rate.admit(&from(&ip.to_string())).is_ok());
        }
        assert!(rate.0.callers.len() <= 2 * SWEEP_EVERY as usize, "{}", rate.0.callers.len());
    }
}
