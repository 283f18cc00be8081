//! Errors as Anthropic's clients know them.

use std::borrow::Cow;

use axum::Json;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::error::ApiError;
use crate::openai::error::cut;

/// Anthropic's status for a server that has too much to do.
const OVERLOADED: u16 = 529;

#[derive(Debug, Serialize)]
struct ErrorBody<'a> {
    r#type: &'static str,
    error: ErrorObject<'a>,
    request_id: &'a str,
}

/// What is wrong.
#[derive(Debug, Serialize)]
pub(super) struct ErrorObject<'a> {
    r#type: &'static str,
    message: Cow<'a, str>,
}

impl<'a> ErrorObject<'a> {
    /// Returns the wire form of an error.
    pub(super) fn new(error: &'a ApiError) -> Self {
        Self { r#type: kind(status(error)), message: cut(Cow::Owned(error.to_string())) }
    }
}

/// Returns whether a request is in this dialect: on a route of Anthropic's alone, or on a shared
/// one with Anthropic's version header.
#[must_use]
pub fn is_asked(path: &str, headers: &HeaderMap) -> bool {
    let is_under =
        |route: &str| path.strip_prefix(route).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    is_under("/v1/messages") || (is_under("/v1/models") && headers.contains_key("anthropic-version"))
}

/// Translates a response into this dialect: errors, and the header with the request's id.
#[must_use]
pub fn translate(mut response: Response, request_id: &str) -> Response {
    if let Ok(value) = HeaderValue::from_str(request_id) {
        response.headers_mut().insert("request-id", value);
    }
    match response.extensions_mut().remove::<ApiError>() {
        None | Some(ApiError::Cut) => response,
        Some(error) => {
            let body = ErrorBody { r#type: "error", error: ErrorObject::new(&error), request_id };
            let body = Json(body).into_response().into_body();
            *response.status_mut() = status(&error);
            response.map(|_: Body| body)
        }
    }
}

/// Returns the status of an error. A server that shuts down is overloaded: clients should retry
/// elsewhere.
fn status(error: &ApiError) -> StatusCode {
    match error {
        ApiError::ShuttingDown => StatusCode::from_u16(OVERLOADED).expect("it has three digits"),
        other => other.status(),
    }
}

fn kind(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        504 => "timeout_error",
        OVERLOADED => "overloaded_error",
        500.. => "api_error",
        _ => "invalid_request_error",
    }
}
