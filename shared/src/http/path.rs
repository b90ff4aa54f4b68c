//! Path parameters, parsed at the door.

use axum::extract::{FromRequestParts, Path};
use http::request::Parts;

use crate::error::{Error, Result};
use crate::id::TaskId;
use crate::name::Hostname;

/// The `{hostname}` of a path.
#[derive(Debug)]
pub struct HostnamePath(pub Hostname);

impl<S: Send + Sync> FromRequestParts<S> for HostnamePath {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
        Hostname::parse("hostname", &one(parts, state).await?).map(Self)
    }
}

/// The `{task_id}` of a path.
#[derive(Debug)]
pub struct TaskPath(pub TaskId);

impl<S: Send + Sync> FromRequestParts<S> for TaskPath {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
        TaskId::parse(&one(parts, state).await?).map(Self)
    }
}

/// The `{letter_id}` of a path.
#[derive(Debug)]
pub struct LetterPath(pub String);

impl<S: Send + Sync> FromRequestParts<S> for LetterPath {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
        let text = one(parts, state).await?;
        let is_id = text.len() == 32 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        let absent = || Error::not_found("there is no dead letter with this id; it has 32 hexadecimal digits");
        is_id.then_some(Self(text)).ok_or_else(absent)
    }
}

async fn one<S: Send + Sync>(parts: &mut Parts, state: &S) -> Result<String> {
    let path = Path::<String>::from_request_parts(parts, state).await;
    path.map(|Path(text)| text).map_err(|_| Error::bad_input("the path must be UTF-8, percent-encoded"))
}
