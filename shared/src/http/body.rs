//! A JSON body, read field by field, so that an error can name the field and what is allowed there.
//! A field that nobody asked for is an error too: a misspelt `timeout` must not be ignored.

use std::ops::RangeInclusive;

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use bytes::Bytes;
use futures::StreamExt as _;
use http::{HeaderMap, header};
use serde_json::{Map, Value};

use crate::error::{Error, Kind, Result};
use crate::rules::limits::BODY_BYTES_MAX;

/// The fields of a JSON object; the raw bytes are kept for digests.
#[derive(Debug)]
pub struct Fields {
    map: Map<String, Value>,
    raw: Bytes,
}

impl<S: Send + Sync> FromRequest<S> for Fields {
    type Rejection = Error;

    async fn from_request(request: Request, _: &S) -> Result<Self> {
        let (parts, body) = request.into_parts();
        let is_json = is_json(&parts.headers);
        let raw = read(body).await?;
        if !is_json {
            return Err(Error::new(
                Kind::UnsupportedMedia,
                "the body must be JSON; send `Content-Type: application/json`",
            ));
        }
        Self::parse(raw)
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = value.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}

async fn read(body: Body) -> Result<Bytes> {
    let mut stream = body.into_data_stream();
    let mut kept = Vec::new();
    while let Some(chunk) = stream.next().await {
        let chunk =
            chunk.map_err(|error| Error::bad_input("the body ended too early; send all of it").because(error))?;
        if kept.len() + chunk.len() > BODY_BYTES_MAX {
            return Err(Error::new(Kind::TooLarge, format!("the body must not be larger than {BODY_BYTES_MAX} bytes")));
        }
        kept.extend_from_slice(&chunk);
    }
    Ok(kept.into())
}

impl Fields {
    fn parse(raw: Bytes) -> Result<Self> {
        let value = serde_json::from_slice(&raw)
            .map_err(|error| Error::bad_input(format!("the body must be a JSON object: {error}")))?;
        match value {
            Value::Object(map) => Ok(Self { map, raw }),
            _ => Err(Error::bad_input("the body must be a JSON object, in braces")),
        }
    }

    /// The body as it was sent.
    pub const fn raw(&self) -> &Bytes {
        &self.raw
    }

    /// Refuses fields other than `known`.
    pub fn only(&self, known: &[&str]) -> Result<()> {
        let Some(unknown) = self.map.keys().find(|key| !known.contains(&key.as_str())) else { return Ok(()) };
        let unknown: String = unknown.chars().take(64).collect::<String>().escape_debug().to_string();
        Err(Error::bad_input(format!("`{unknown}` is not a field here; allowed are `{}`", known.join("`, `"))))
    }

    /// Whether the field is there at all, be it `null`.
    pub fn has(&self, field: &str) -> bool {
        self.map.contains_key(field)
    }

    /// A text; `None` when it is absent or `null`.
    pub fn text(&self, field: &str) -> Result<Option<&str>> {
        match self.map.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if text.contains('\0') => {
                Err(Error::bad_input(format!("`{field}` must not hold a NUL")))
            }
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(Error::bad_input(format!("`{field}` must be a text, in quotes"))),
        }
    }

    /// A text, or a whole number as a text; `None` when it is absent or `null`.
    pub fn word(&self, field: &str) -> Result<Option<String>> {
        match self.map.get(field).and_then(Value::as_i64) {
            Some(number) => Ok(Some(number.to_string())),
            None => Ok(self.text(field)?.map(str::to_owned)),
        }
    }

    /// A text that must be there.
    pub fn required(&self, field: &str) -> Result<&str> {
        self.text(field)?.ok_or_else(|| Error::bad_input(format!("`{field}` is missing; it must be a text")))
    }

    /// A whole number within `range`; `default` when it is absent or `null`.
    pub fn number(&self, field: &str, range: RangeInclusive<i64>, default: i64) -> Result<i64> {
        let number = match self.map.get(field) {
            None | Some(Value::Null) => return Ok(default),
            Some(value) => value.as_i64().filter(|number| range.contains(number)),
        };
        number.ok_or_else(|| {
            Error::bad_input(format!("`{field}` must be a whole number from {} to {}", range.start(), range.end()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(json: &str) -> Result<Fields> {
        Fields::parse(Bytes::copy_from_slice(json.as_bytes()))
    }

    #[test]
    fn only_objects() {
        for bad in ["", "[]", "[1]", "\"x\"", "1", "null", "{", "{\"a\":1}x"] {
            assert_eq!(fields(bad).unwrap_err().kind(), Kind::BadInput, "{bad}");
        }
        assert!(fields(&"[".repeat(100_000)).is_err());
    }

    #[test]
    fn errors_name_the_field() {
        let body = fields(r#"{"a":1,"b":"x\u0000","c":1.5,"d":99,"n":null,"e":"ok"}"#).unwrap();
        for error in [
            body.text("a").map(drop),
            body.text("b").map(drop),
            body.number("c", 1..=10, 1).map(drop),
            body.number("d", 1..=10, 1).map(drop),
            body.number("e", 1..=10, 1).map(drop),
            body.required("n").map(drop),
            body.only(&["a"]),
        ] {
            assert!(error.unwrap_err().detail().contains('`'));
        }
        assert_eq!(body.required("e").unwrap(), "ok");
        assert_eq!(body.number("n", 1..=10, 7).unwrap(), 7);
    }
}
