//! The one place where an error becomes a status.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::StatusCode;

use crate::contract::task::Problem;
use crate::error::{Error, Kind, chain};

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let status = match self.kind() {
            Kind::BadInput => StatusCode::BAD_REQUEST,
            Kind::Unauthorized => StatusCode::UNAUTHORIZED,
            Kind::Forbidden => StatusCode::FORBIDDEN,
            Kind::NotFound => StatusCode::NOT_FOUND,
            Kind::Conflict => StatusCode::CONFLICT,
            Kind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Kind::UnsupportedMedia => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Kind::Unavailable | Kind::Contended => StatusCode::SERVICE_UNAVAILABLE,
            Kind::TooMany => StatusCode::TOO_MANY_REQUESTS,
            Kind::BadAnswer => StatusCode::BAD_GATEWAY,
            Kind::Timeout => StatusCode::GATEWAY_TIMEOUT,
            Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        };
        match self.kind() {
            Kind::Internal => tracing::error!(cause = chain(&self), "a request failed"),
            Kind::Unavailable | Kind::Contended | Kind::BadAnswer | Kind::Timeout => {
                tracing::warn!(cause = chain(&self), "a request could not be served")
            }
            _ => (), // the caller's own mistake
        }
        let mut response = (status, Json(Problem { detail: self.detail().to_owned() })).into_response();
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(http::header::WWW_AUTHENTICATE, http::HeaderValue::from_static("Bearer"));
        }
        response
    }
}
