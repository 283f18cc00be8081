//! The shape of every error, before and after the headers.

use std::borrow::Cow;

use axum::Json;
use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::cut::CutStream;
use crate::error::{ApiError, Blame};

/// Longest message, and longest name of a field. Both may quote the client, whose body may have
/// megabytes.
const MAX_TEXT_BYTES: usize = 1024;

/// `{"error": {...}}`
#[derive(Debug, Serialize)]
pub struct ErrorBody<'a> {
    error: ErrorObject<'a>,
}

#[derive(Debug, Serialize)]
struct ErrorObject<'a> {
    message: Cow<'a, str>,
    r#type: &'static str,
    param: Option<Cow<'a, str>>,
    code: &'a str,
}

impl<'a> ErrorBody<'a> {
    /// Returns the wire form of an error.
    #[must_use]
    pub fn new(error: &'a ApiError) -> Self {
        let message = cut(Cow::Owned(error.to_string()));
        let param = error.param().map(|param| cut(Cow::Borrowed(param)));
        Self { error: ErrorObject { message, r#type: error.family(), param, code: error.code() } }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = match self {
            Self::Cut => Body::from_stream(CutStream::default()).into_response(),
            _ => (self.status(), Json(ErrorBody::new(&self))).into_response(),
        };
        response.extensions_mut().insert(Blame::of(&self));
        response.extensions_mut().insert(self.clone());
        match self {
            Self::ContentEncoding(_) => {
                let accepted = HeaderValue::from_static("gzip, deflate");
                response.headers_mut().insert(header::ACCEPT_ENCODING, accepted);
            }
            Self::QueueFull { retry_after_s, .. } => {
                response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(retry_after_s));
            }
            Self::Scripted { retry_after_s: Some(retry_after_s), .. } => {
                response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(retry_after_s));
            }
            // The OpenAI SDKs retry after a 5xx unless a header forbids it; the same prompt gives
            // the same logits.
            Self::NotFinite | Self::Grammar(_) => {
                response.headers_mut().insert("x-should-retry", HeaderValue::from_static("false"));
            }
            // A retry must not use the same connection.
            Self::Crowded | Self::ShuttingDown => {
                response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(1));
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            _ => {}
        }
        response
    }
}

/// Returns the part of a text that fits, with a mark if it was cut.
#[must_use]
pub fn cut(text: Cow<'_, str>) -> Cow<'_, str> {
    if text.len() <= MAX_TEXT_BYTES {
        return text;
    }
    let end = (0..=MAX_TEXT_BYTES).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    Cow::Owned(format!("{}…", &text[..end]))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// A refusal that returns the client's megabytes doubles the cost of a request.
    #[test]
    fn a_refusal_is_short_whatever_it_quotes() {
        let long = "é".repeat(1 << 20);
        let error = ApiError::invalid("invalid_value", format!("x{long}"), format!("`x` is `{long}`"));
        let body = serde_json::to_vec(&ErrorBody::new(&error)).unwrap();
        assert!(body.len() < 3 * MAX_TEXT_BYTES, "{}", body.len());
        let error = ApiError::invalid("invalid_value", "x", "`x` is `é`");
        let body = serde_json::to_string(&ErrorBody::new(&error)).unwrap();
        assert!(body.contains(r#""message":"`x` is `é`""#), "{body}");
    }
}
