//! Lists. Asked plainly, a list is the whole list, streamed in chunks so that its length costs no
//! memory; asked with `limit` or `cursor` it is one page, with a `Link` to the next.
//!
//! A list is read by keyset: each chunk starts after the last row of the one before. No database
//! connection is held while a slow reader drinks.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Waker};

use axum::body::Body;
use axum::extract::{FromRequestParts, OriginalUri, Query};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::{MaybeDone, maybe_done};
use futures::stream::{once, try_unfold};
use http::request::Parts;
use http::{HeaderValue, header};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_util::task::AbortOnDropHandle;

use crate::error::{Error, Result, chain};
use crate::rules::limits::{PAGE_ROWS_DEFAULT, PAGE_ROWS_MAX, STREAM_ROWS};

/// What a caller asked of a list.
#[derive(Debug)]
pub struct Paging {
    limit: Option<usize>,
    cursor: Option<String>,
    path: String,
}

impl<S: Send + Sync> FromRequestParts<S> for Paging {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
        let query = Query::<Vec<(String, String)>>::from_request_parts(parts, state).await;
        let Query(pairs) =
            query.map_err(|_| Error::bad_input("the query must be `name=value` pairs, percent-encoded"))?;
        let get = |name: &str| pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
        let OriginalUri(uri) =
            OriginalUri::from_request_parts(parts, state).await.unwrap_or_else(|never| match never {});
        Ok(Self {
            limit: get("limit").map(|text| limit(&text)).transpose()?,
            cursor: get("cursor"),
            path: uri.path().to_owned(),
        })
    }
}

fn limit(text: &str) -> Result<usize> {
    let limit = text.parse().ok().filter(|limit| (1..=PAGE_ROWS_MAX).contains(limit));
    limit.ok_or_else(|| Error::bad_input(format!("`limit` must be a whole number from 1 to {PAGE_ROWS_MAX}")))
}

/// A list that can be read from any point on.
pub trait List: Send + Sync + 'static {
    /// What it lists.
    type Item: Serialize + Send + Sync;
    /// Where a chunk starts: after this.
    type Cursor: Serialize + DeserializeOwned + Clone + Send + Sync;

    /// Items read at a time; fewer where one of them may be large.
    const CHUNK: usize = STREAM_ROWS;
    /// The most items of a page.
    const PAGE: usize = PAGE_ROWS_MAX;

    /// Before the first item.
    fn start(&self) -> Self::Cursor;

    /// Up to `limit` items after `cursor`, each with its own cursor.
    fn after(
        &self,
        cursor: Self::Cursor,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<(Self::Cursor, Self::Item)>>> + Send;
}

/// Answers with the list, whole or as a page.
pub async fn respond<L: List>(list: L, paging: Paging) -> Result<Response> {
    if paging.limit.is_some() || paging.cursor.is_some() {
        return page(list, paging).await;
    }
    whole(list, Vec::new(), "").await
}

/// Answers with an object: the fields of `head`, and the whole list as the field `name`.
pub async fn wrap<L: List>(head: &impl Serialize, name: &str, list: L) -> Result<Response> {
    let mut opening = serde_json::to_vec(head).map_err(Error::internal)?;
    opening.pop(); // the closing brace comes after the list
    opening.extend_from_slice(format!(",\"{name}\":").as_bytes());
    whole(list, opening, "}").await
}

async fn page<L: List>(list: L, paging: Paging) -> Result<Response> {
    let limit = paging.limit.unwrap_or(PAGE_ROWS_DEFAULT).min(L::PAGE);
    let from = paging.cursor.as_deref().map(decode::<L::Cursor>).transpose()?.unwrap_or_else(|| list.start());
    let mut rows = list.after(from, limit + 1).await?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| more).map(|(cursor, _)| encode(cursor));
    let mut bytes = vec![b'['];
    write(&mut bytes, &rows, true)?;
    bytes.push(b']');
    let mut response = json(bytes.into());
    if let Some(next) = next {
        let link = format!("<{}?limit={limit}&cursor={next}>; rel=\"next\"", paging.path);
        if let Ok(link) = HeaderValue::from_str(&link) {
            response.headers_mut().insert(header::LINK, link);
        }
    }
    Ok(response)
}

/// A list on its way out.
struct Stream<L: List> {
    list: Arc<L>,
    closing: &'static str,
    /// The next chunk, which is read while this one is written; `None` when there is none.
    next: Option<AbortOnDropHandle<Result<Rows<L>>>>,
}

type Rows<L> = Vec<(<L as List>::Cursor, <L as List>::Item)>;

/// The first chunk is read before the answer begins, so that trouble still gets its status.
async fn whole<L: List>(list: L, mut opening: Vec<u8>, closing: &'static str) -> Result<Response> {
    let list = Arc::new(list);
    let rows = list.after(list.start(), L::CHUNK).await?;
    let ahead = read_ahead(&list, &rows);
    opening.push(b'[');
    write(&mut opening, &rows, true)?;
    let Some(ahead) = ahead else {
        opening.push(b']');
        opening.extend_from_slice(closing.as_bytes());
        return Ok(json(opening.into())); // short enough to know its length
    };
    let rest = try_unfold(Stream { list, closing, next: Some(finish(ahead)) }, advance::<L>);
    Ok(json(Body::from_stream(once(async { Ok(Bytes::from(opening)) }).chain(rest))))
}

async fn advance<L: List>(mut stream: Stream<L>) -> Result<Option<(Bytes, Stream<L>)>, Error> {
    let Some(next) = stream.next else { return Ok(None) };
    let rows = next.await.map_err(Error::internal).flatten().inspect_err(|error| {
        // The status is sent already; breaking off is all that is left to say.
        tracing::error!(cause = chain(error), "a list broke off");
    })?;
    let ahead = read_ahead(&stream.list, &rows);
    let mut bytes = Vec::new();
    write(&mut bytes, &rows, false)?;
    stream.next = ahead.map(finish);
    if stream.next.is_none() {
        bytes.push(b']');
        bytes.extend_from_slice(stream.closing.as_bytes());
    }
    Ok(Some((bytes.into(), stream)))
}

/// Begins to read the chunk after `rows`, if these filled theirs. The rows that arrive until somebody
/// [`finish`]es it wake nobody up: that would cost more for each of them than the row itself.
fn read_ahead<L: List>(
    list: &Arc<L>,
    rows: &Rows<L>,
) -> Option<Ahead<impl Future<Output = Result<Rows<L>>> + Send + use<L>>> {
    let (cursor, _) = rows.last().filter(|_| rows.len() == L::CHUNK)?;
    let (list, cursor) = (Arc::clone(list), cursor.clone());
    let mut ahead = Box::pin(maybe_done(async move { list.after(cursor, L::CHUNK).await }));
    let _ = ahead.as_mut().poll(&mut Context::from_waker(Waker::noop())); // an outcome stays in it
    Some(ahead)
}

type Ahead<F> = Pin<Box<MaybeDone<F>>>;

/// Reads what was begun to its end, whether or not the client drinks: no connection waits for a client.
fn finish<R: Send + 'static>(
    mut ahead: Ahead<impl Future<Output = Result<R>> + Send + 'static>,
) -> AbortOnDropHandle<Result<R>> {
    AbortOnDropHandle::new(tokio::spawn(async move {
        ahead.as_mut().await;
        ahead.as_mut().take_output().unwrap_or_else(|| Err(Error::internal("a chunk was read twice")))
    }))
}

/// Writes rows as JSON with commas between them, and one before them unless they are the first.
fn write<C, T: Serialize>(bytes: &mut Vec<u8>, rows: &[(C, T)], first: bool) -> Result<()> {
    for (place, (_, row)) in rows.iter().enumerate() {
        if place > 0 || !first {
            bytes.push(b',');
        }
        serde_json::to_writer(&mut *bytes, row).map_err(Error::internal)?;
    }
    Ok(())
}

fn json(body: Body) -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response()
}

fn encode<C: Serialize>(cursor: &C) -> String {
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(cursor).unwrap_or_default()) // strings and numbers always serialise
}

fn decode<C: DeserializeOwned>(text: &str) -> Result<C> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok();
    let cursor = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    cursor.ok_or_else(|| Error::bad_input("`cursor` must be one that a page's `Link` header gave"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;

    struct Numbers(u64);

    impl List for Numbers {
        type Item = u64;
        type Cursor = u64;
        fn start(&self) -> u64 {
            0
        }
        async fn after(&self, cursor: u64, limit: usize) -> Result<Vec<(u64, u64)>> {
            Ok((cursor + 1..=self.0).take(limit).map(|n| (n, n)).collect())
        }
    }

    fn paging(limit: Option<usize>, cursor: Option<String>) -> Paging {
        Paging { limit, cursor, path: "/n".to_owned() }
    }

    async fn numbers(response: Response) -> Vec<u64> {
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        serde_json::from_slice(&bytes).unwrap()
    }

    #[tokio::test]
    async fn whole_lists_of_every_length() {
        for length in [0, 1, STREAM_ROWS - 1, STREAM_ROWS, STREAM_ROWS + 1, 3 * STREAM_ROWS] {
            let response = respond(Numbers(length as u64), paging(None, None)).await.unwrap();
            assert_eq!(numbers(response).await, (1..=length as u64).collect::<Vec<_>>());
        }
    }

    #[tokio::test]
    async fn pages_lead_through_the_whole_list() {
        let (mut cursor, mut seen) = (None, Vec::new());
        loop {
            let response = respond(Numbers(25), paging(Some(10), cursor)).await.unwrap();
            let link = response.headers().get(header::LINK).map(|link| link.to_str().unwrap().to_owned());
            seen.extend(numbers(response).await);
            let Some(link) = link else { break };
            cursor = Some(link.split("cursor=").nth(1).unwrap().split('>').next().unwrap().to_owned());
        }
        assert_eq!(seen, (1..=25).collect::<Vec<_>>());
        assert!(respond(Numbers(1), paging(None, Some("nonsense!".into()))).await.is_err());
    }

    #[test]
    fn limits() {
        assert_eq!(limit("1").unwrap(), 1);
        for bad in ["0", "-1", "x", "1001", ""] {
            assert!(limit(bad).is_err(), "{bad}");
        }
    }
}
