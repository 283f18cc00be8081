//! Answers to what never becomes a request, in OpenAI's shape.

use axum::http::StatusCode;
use bytes::Bytes;
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;

use crate::error::ApiError;
use crate::openai::error::ErrorBody;

/// The whole of an answer after which the connection is closed.
pub(super) fn last_answer(error: &ApiError) -> Bytes {
    let status = error.status();
    let body = serde_json::to_string(&ErrorBody::new(error)).expect("wire types serialise");
    let date = DateTimePrinter::new().timestamp_to_rfc9110_string(&Timestamp::now()).unwrap_or_default();
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\ndate: {date}\r\n\r\n",
        body.len(),
    );
    Bytes::from(head + &body)
}

/// The answer to a head that hyper has refused with this one, which says nothing but its status.
pub(super) fn in_place_of(hypers: &[u8]) -> Bytes {
    let code = hypers.get(b"HTTP/1.1 ".len()..).and_then(|rest| rest.get(..3));
    match code.and_then(|code| StatusCode::from_bytes(code).ok()) {
        Some(StatusCode::URI_TOO_LONG) => last_answer(&ApiError::UriTooLong),
        Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE) => last_answer(&ApiError::HeadTooLarge),
        Some(StatusCode::BAD_REQUEST) => last_answer(&ApiError::malformed("this is not an HTTP/1.1 request")),
        _ => Bytes::copy_from_slice(hypers),
    }
}
