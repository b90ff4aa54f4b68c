//! An answer, read to its end, and the one form that every error has.

use http::{HeaderMap, StatusCode, header};
use reqwest::RequestBuilder;
use serde_json::Value;

/// An answer of the API.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    /// Sends a request and reads the answer.
    pub async fn to(request: RequestBuilder) -> Self {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        Self { status, headers, text: response.text().await.unwrap() }
    }

    /// The body of an answer with this status.
    pub fn json(&self, status: StatusCode) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        serde_json::from_str(&self.text).unwrap()
    }

    /// The sentence of an error with this status.
    pub fn problem(&self, status: StatusCode) -> String {
        assert_eq!(self.status, status, "{}", self.text);
        sentence(&self.headers, self.text.as_bytes()).unwrap()
    }

    /// A header, where there is one.
    pub fn header(&self, name: impl header::AsHeaderName) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// The sentence of an error, if it has the form of all errors: JSON, `detail`, and nothing else.
pub fn sentence(headers: &HeaderMap, body: &[u8]) -> Result<String, String> {
    let content_type = headers.get(header::CONTENT_TYPE);
    if content_type.is_none_or(|value| value != "application/json") {
        return Err(format!("the content type is {content_type:?}"));
    }
    let other = || format!("not the form of an error: {}", String::from_utf8_lossy(body));
    let Ok(Value::Object(fields)) = serde_json::from_slice(body) else { return Err(other()) };
    match fields.get("detail") {
        Some(Value::String(detail)) if fields.len() == 1 && !detail.is_empty() => Ok(detail.clone()),
        _ => Err(other()),
    }
}
