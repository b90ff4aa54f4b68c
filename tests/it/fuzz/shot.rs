//! One request: a door that exists, and then something wrong with its path, its query, its headers,
//! its body, several of these, or nothing at all.

mod body;
mod head;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Uri, header};
use http_body_util::Full;

use super::random::Random;
use crate::doors::routes::doors;

/// The servers that there are, unless they were just deleted.
pub const HOSTS: [&str; 4] = ["ghost-1", "ghost-2", "ghost-3", "ghost-4"];

/// What there is besides servers.
#[derive(Clone)]
pub struct Ids {
    pub tasks: Vec<String>,
    pub letters: Vec<String>,
}

pub struct Shot {
    pub method: Method,
    pub uri: Uri,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    /// The door that it is meant for, when method and path were left as they are.
    pub aim: Option<(&'static str, &'static str)>,
}

impl Shot {
    pub fn new(random: &mut Random, ids: &Ids) -> Self {
        let all: Vec<_> = doors().collect();
        let (method, route) = *random.pick(&all);
        let host = random.below(HOSTS.len());
        let path = route.replace("{hostname}", HOSTS[host]);
        let path = path.replace("{task_id}", random.pick::<String>(&ids.tasks));
        let path = path.replace("{letter_id}", random.pick::<String>(&ids.letters));
        let body = body::body(random, method, route, host);
        let bent = random.one_in(6);
        let uri = if bent { head::bent(random, &path) } else { head::with_query(random, &path) };
        let asked = if random.one_in(10) { head::method(random) } else { method.parse().unwrap() };
        let aim = (!bent && asked == method).then_some((method, route));
        Self { method: asked, uri, headers: head::headers(random, !body.is_empty()), body, aim }
    }

    pub fn request(&self) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(Bytes::from(self.body.clone())));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        if !self.headers.contains_key(header::HOST) {
            request.headers_mut().insert(header::HOST, HeaderValue::from_static("127.0.0.1"));
        }
        request
    }
}

impl std::fmt::Debug for Shot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let body = self.body[..self.body.len().min(2_000)].escape_ascii();
        write!(f, "{} {}\n{:?}\n{} bytes: {body}", self.method, self.uri, self.headers, self.body.len())
    }
}
