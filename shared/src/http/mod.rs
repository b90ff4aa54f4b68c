//! HTTP, as every service speaks it. The one place where an error becomes a status, a body becomes
//! fields, and a list becomes a stream.

mod access; // an id and a line in the log for each request
pub mod body; // a JSON body, read field by field
pub mod client; // the API from the other side
mod drain; // what is left of a body once its answer is known
mod error; // error → status
pub mod guard; // who may come in: token, Host, Origin
pub mod layers; // limits, timeouts, panics, and the form of every error
pub mod list; // long lists in bounded memory, pages with cursors
pub mod observe; // a span and a count for each request
pub mod path; // path parameters, parsed at the door
pub mod serve; // sockets

use std::net::IpAddr;

use http::HeaderName;

/// The header that names the caller to the services behind the gateway, which alone sets it.
pub const CALLER: &str = "x-muster-caller";
/// The header with a request's id, which each door makes anew.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Where a request's connection comes from, among its extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Peer(pub IpAddr);

/// The W3C trace context's header.
pub const TRACEPARENT: &str = "traceparent";
