//! One error type for the control plane. It knows what went wrong and what to tell the caller;
//! that HTTP exists is known to `http` alone, which maps [`Kind`] to a status in one `match`.
//!
//! The public sentence (`detail`) and the cause are kept apart: the sentence goes to the caller,
//! the cause goes to the log of the one place that handles the error.

use std::error::Error as StdError;
use std::fmt;

use crate::db::{self, Trouble};

/// What sort of failure it is, as far as a caller must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The caller must change the request.
    BadInput,
    /// No token, or a wrong one.
    Unauthorized,
    /// The caller may not do this from there.
    Forbidden,
    /// There is no such thing.
    NotFound,
    /// It contradicts what is there.
    Conflict,
    /// The body is over the limit.
    TooLarge,
    /// The body is not declared as JSON.
    UnsupportedMedia,
    /// A part of Muster is away or overloaded; trying again later may help.
    Unavailable,
    /// Another transaction was in the way; trying again at once may help.
    Contended,
    /// The caller asks too often.
    TooMany,
    /// A part of Muster broke off its answer, or gave none that can be understood.
    BadAnswer,
    /// It took longer than allowed.
    Timeout,
    /// Our mistake.
    Internal,
}

impl Kind {
    /// Whether somebody has to change something before it can go well; otherwise another try may.
    pub const fn is_refusal(self) -> bool {
        match self {
            Self::BadInput
            | Self::Unauthorized
            | Self::Forbidden
            | Self::NotFound
            | Self::Conflict
            | Self::TooLarge
            | Self::UnsupportedMedia => true,
            Self::Unavailable | Self::Contended | Self::TooMany | Self::BadAnswer | Self::Timeout | Self::Internal => {
                false
            }
        }
    }
}

/// A failure with a sentence for the caller and, apart from it, a cause for the log.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    detail: String,
    cause: Option<Box<dyn StdError + Send + Sync>>,
}

/// What most of Muster returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A failure of `kind` that `detail` explains in one sentence.
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), cause: None }
    }

    /// The request must change; `detail` names the field and what is allowed.
    pub fn bad_input(detail: impl Into<String>) -> Self {
        Self::new(Kind::BadInput, detail)
    }

    /// There is no such thing.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(Kind::NotFound, detail)
    }

    /// It contradicts what is there.
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(Kind::Conflict, detail)
    }

    /// A part of Muster is away or overloaded.
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(Kind::Unavailable, detail)
    }

    /// Our mistake. The caller learns only that; `cause` is for the log.
    pub fn internal(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::new(Kind::Internal, "something went wrong on our side; the log has the cause").because(cause)
    }

    /// Another transaction was in the way; done again, the work may succeed.
    pub fn contended() -> Self {
        Self::new(Kind::Contended, "somebody else changed the same thing at that moment; try again")
    }

    /// Adds the cause, for the log.
    pub fn because(mut self, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// What sort of failure it is.
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// The sentence for the caller.
    pub fn detail(&self) -> &str {
        &self.detail
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.cause.as_deref().map(|cause| cause as &(dyn StdError + 'static))
    }
}

/// An error and its causes in one line, for a log or a terminal.
pub fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        line.push_str(": ");
        line.push_str(&inner.to_string());
        cause = inner.source();
    }
    line
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        match db::trouble(&error) {
            Some(Trouble::Away) => {
                Self::unavailable("the database cannot be used right now; try again shortly").because(error)
            }
            Some(Trouble::Contended) => Self::contended().because(error),
            None => Self::internal(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_public_sentence_never_holds_the_cause() {
        let error = Error::internal("disk on fire");
        assert!(!error.detail().contains("fire"));
        assert!(chain(&error).contains("disk on fire"));
    }
}
