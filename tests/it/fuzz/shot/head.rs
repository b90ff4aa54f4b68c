//! Methods, paths, queries and headers.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};

use super::super::random::Random;

const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"];

/// Pieces of a path that mean something else, nothing, or too much.
const PIECES: [&str; 20] = [
    "",
    ".",
    "..",
    "%2e%2e",
    "%2F",
    "%00",
    "%ff",
    "%",
    "%zz",
    "%25",
    "*",
    "ünï",
    "%F0%9F%98%80",
    "a;b",
    "'--",
    "a%20b",
    "{hostname}",
    "~",
    "00000000000000000000000000000000",
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
];

/// Some of the cursors are sound: a name, a time and a name, the latest time there is.
const QUERIES: [&str; 24] = [
    "limit=1",
    "limit=2",
    "limit=1000",
    "limit=0",
    "limit=-1",
    "limit=x",
    "limit=",
    "limit=1&limit=2",
    "limit=%31",
    "limit=+1",
    "cursor=",
    "cursor=%00",
    "cursor=AAAA",
    "cursor=Imdob3N0LTEi",
    "cursor=WzAsIiJd&limit=1",
    "cursor=!&limit=1",
    "cursor=WzkyMjMzNzIwMzY4NTQ3NzU4MDcsIiJd",
    "a",
    "&&==&",
    "%",
    "%ff=%fe",
    "ünï=ünï",
    "limit[]=1",
    "cursor=bnVsbA&limit=9",
];

const HEADERS: [(&str, &[u8]); 26] = [
    ("accept", b"text/html"),
    ("accept-encoding", b"gzip, br"),
    ("authorization", b"Bearer x"),
    ("authorization", b"\xff"),
    ("content-encoding", b"gzip"),
    ("content-type", b"application/json; charset=utf-8"),
    ("content-type", b"text/plain"),
    ("content-type", b"\xff\xfe"),
    ("cookie", b"a=b; a=b"),
    ("expect", b"100-continue"),
    ("forwarded", b"for=1.2.3.4;host=evil.example"),
    ("host", b"evil.example"),
    ("host", b"\xff"),
    ("idempotency-key", b""),
    ("idempotency-key", b"k"),
    ("idempotency-key", b"\xc3\xa4"),
    ("if-none-match", b"*"),
    ("origin", b"null"),
    ("range", b"bytes=0-0"),
    ("traceparent", b"00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"),
    ("traceparent", b"00-00000000000000000000000000000000-0000000000000000-00"),
    ("traceparent", b"\xff-\xff-\xff-\xff"),
    ("x-forwarded-host", b"evil.example"),
    ("x-http-method-override", b"DELETE"),
    ("x-muster-caller", b"root"),
    ("x-muster-caller", b"\xff"),
];

pub fn method(random: &mut Random) -> Method {
    random.pick(&METHODS).parse().unwrap()
}

pub fn with_query(random: &mut Random, path: &str) -> Uri {
    // A plain list is the whole list; mostly a page will do.
    let query = if random.one_in(4) { random.pick(&QUERIES) } else { "limit=3" };
    format!("{path}?{query}").parse().unwrap()
}

/// A path with something wrong in it that HTTP itself still allows.
pub fn bent(random: &mut Random, path: &str) -> Uri {
    loop {
        let mut pieces: Vec<_> = path.split('/').map(|piece| piece.as_bytes().to_vec()).collect();
        let at = 1 + random.below(pieces.len() - 1);
        match random.below(6) {
            0 => pieces[at] = random.pick(&PIECES).as_bytes().to_vec(),
            1 => pieces.insert(at, random.pick(&PIECES).as_bytes().to_vec()),
            2 => pieces[at] = b"x".repeat(random.below(20_000)),
            3 => random.edit(&mut pieces[at]),
            4 => drop(pieces.remove(at)),
            _ => pieces[at] = pieces[at].iter().flat_map(|byte| format!("%{byte:02x}").into_bytes()).collect(),
        }
        let query = if random.one_in(4) { format!("?{}", random.pick(&QUERIES)) } else { String::new() };
        let target = [pieces.join(&b'/'), query.into_bytes()].concat();
        if let Ok(uri) = Uri::try_from(target)
            && uri.path().starts_with('/')
        {
            return uri;
        }
    }
}

pub fn headers(random: &mut Random, with_body: bool) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if with_body {
        headers.insert("content-type", HeaderValue::from_static("application/json"));
    }
    while random.one_in(4) {
        let (name, value) = random.pick(&HEADERS);
        let value = HeaderValue::from_bytes(value).unwrap();
        if random.one_in(2) {
            headers.append(*name, value);
        } else {
            headers.insert(*name, value);
        }
    }
    if random.one_in(20) {
        let name = HeaderName::from_bytes(&b"x-".repeat(1 + random.below(500))).unwrap();
        let mut value = random.bytes(2_000);
        value.retain(|byte| *byte >= b' ' && *byte != 0x7f);
        headers.insert(name, HeaderValue::from_bytes(&value).unwrap());
    }
    headers
}
