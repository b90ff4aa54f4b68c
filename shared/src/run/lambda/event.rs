//! What an event is. It does not say so itself, so its form decides.

use std::borrow::Cow;

use lambda_http::request::LambdaRequest;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::messages::Messages;
use crate::error::{Error, Result};

/// What EventBridge calls the event of a schedule.
const SCHEDULED: &str = "Scheduled Event";

/// An event that a service knows what to do with.
pub enum Event {
    /// A request, from API Gateway or a function URL.
    Request(Box<LambdaRequest>),
    /// Messages, from Amazon MQ for RabbitMQ.
    Messages(Messages),
    /// The schedule says that it is time.
    Schedule,
}

/// What tells the events apart.
#[derive(Deserialize)]
struct Form<'a> {
    #[serde(borrow, rename = "requestContext")]
    request: Option<&'a RawValue>,
    #[serde(borrow, rename = "rmqMessagesByQueue")]
    messages: Option<&'a RawValue>,
    #[serde(borrow, rename = "detail-type")]
    detail_type: Option<Cow<'a, str>>,
}

impl Event {
    /// Reads an event.
    ///
    /// # Errors
    /// Bad input when it is none of those above.
    pub fn parse(payload: &RawValue) -> Result<Self> {
        let form: Form<'_> = serde_json::from_str(payload.get()).map_err(unknown)?;
        if let Some(messages) = form.messages {
            return serde_json::from_str(messages.get()).map(Self::Messages).map_err(unknown);
        }
        if form.request.is_some() {
            let mut request = serde_json::from_str(payload.get()).map_err(unknown)?;
            leave_stage(&mut request);
            return Ok(Self::Request(Box::new(request)));
        }
        match form.detail_type.as_deref() {
            Some(SCHEDULED) => Ok(Self::Schedule),
            _ => Err(unknown("its form is unknown")),
        }
    }
}

fn unknown(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    let known = "API Gateway, Amazon MQ for RabbitMQ and EventBridge's schedule";
    Error::bad_input(format!("this event cannot be read; send only those of {known}")).because(cause)
}

/// Takes the stage out of a request's path: it is a place of API Gateway's, and the API's own paths are
/// the same in each. A REST API leaves it out by itself, but then the adapter would put it back.
fn leave_stage(request: &mut LambdaRequest) {
    match request {
        LambdaRequest::ApiGatewayV1(request) => request.request_context.stage = None,
        LambdaRequest::ApiGatewayV2(request) => {
            let stage = request.request_context.stage.take().map(|stage| format!("/{stage}"));
            let path = request.raw_path.as_deref().zip(stage.as_deref());
            let path = path.and_then(|(path, stage)| path.strip_prefix(stage)).filter(|path| path.starts_with('/'));
            if let Some(path) = path.map(str::to_owned) {
                request.raw_path = Some(path);
            }
        }
        _ => (), // no other kind has stages
    }
}
