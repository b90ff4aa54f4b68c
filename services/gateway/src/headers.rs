//! Which headers pass. What concerns one connection stops here (RFC 9110, section 7.6.1), and so does
//! what a caller says of the way that its request took: only who sits on that way could know, and the
//! services behind must not take a caller's word for it.

use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, FORWARDED, HOST, HeaderMap, HeaderName, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use shared::http::{CALLER, REQUEST_ID};

/// Headers of one connection. The length is among them because the body that is sent on says it itself,
/// and the wish to be told to continue because it has been granted.
const HOP_BY_HOP: [HeaderName; 12] = [
    CONNECTION,
    CONTENT_LENGTH,
    EXPECT,
    HOST,
    HeaderName::from_static("keep-alive"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    HeaderName::from_static("proxy-connection"),
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Drops what a caller claims about the way of its request.
pub fn distrust(headers: &mut HeaderMap) {
    let claims = |name: &HeaderName| {
        *name == FORWARDED || name.as_str() == "x-real-ip" || name.as_str().starts_with("x-forwarded-")
    };
    let claimed: Vec<_> = headers.keys().filter(|name| claims(name)).cloned().collect();
    for name in claimed {
        headers.remove(name);
    }
}

/// Drops what concerns one connection only, be it by its name or because `Connection` names it.
pub fn end_to_end(mut headers: HeaderMap) -> HeaderMap {
    for name in named(&headers) {
        headers.remove(name);
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
    headers
}

/// What `Connection` names. What we have set ourselves, it cannot take away again.
fn named(headers: &HeaderMap) -> Vec<HeaderName> {
    let lists = headers.get_all(CONNECTION).iter().filter_map(|list| list.to_str().ok());
    let names = lists.flat_map(|list| list.split(',')).filter_map(|name| name.trim().parse().ok());
    names.filter(|name| *name != REQUEST_ID && *name != CALLER).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    fn left(headers: &HeaderMap) -> Vec<&str> {
        let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn what_concerns_one_connection_stops_here() {
        let mut sent = headers(&[
            ("connection", "close, X-Secret , x-muster-caller,x-request-id, bad name"),
            ("x-secret", "1"),
            ("x-muster-caller", "token"),
            ("x-request-id", "1"),
            ("te", "trailers"),
            ("host", "h"),
            ("content-length", "3"),
            ("accept", "*/*"),
        ]);
        sent.append(CONNECTION, "x-other".parse().unwrap());
        sent.insert("x-other", "1".parse().unwrap());
        assert_eq!(left(&end_to_end(sent)), ["accept", "x-muster-caller", "x-request-id"]);
    }

    #[test]
    fn claims_about_the_way_are_dropped() {
        let mut sent = headers(&[
            ("forwarded", "for=1.2.3.4"),
            ("x-forwarded-for", "1.2.3.4"),
            ("x-forwarded-anything", "1"),
            ("x-real-ip", "1.2.3.4"),
            ("x-forward", "mine"),
        ]);
        distrust(&mut sent);
        assert_eq!(left(&sent), ["x-forward"]);
    }
}
