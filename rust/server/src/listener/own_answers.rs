//! Answers to what never becomes a request: of the shape, with the name and in the books of all others.

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderValue, StatusCode, header};
use bytes::Bytes;
use futures_util::FutureExt;
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;

use crate::error::ApiError;
use crate::middleware;

/// The whole of an answer after which the connection is closed.
pub(super) async fn last_answer(router: Router, error: ApiError) -> Bytes {
    let request = middleware::unread(Body::empty());
    let (mut head, body) = middleware::answer(router, request, Err(error)).await.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
    head.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    head.headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    let date = DateTimePrinter::new().timestamp_to_rfc9110_string(&Timestamp::now()).unwrap_or_default();
    let mut bytes = format!("HTTP/1.1 {}\r\ndate: {date}\r\n", head.status).into_bytes();
    for (name, value) in &head.headers {
        bytes.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(&body);
    bytes.into()
}

/// The answer to a head that hyper has refused with this one, which says nothing but its status.
pub(super) fn in_place_of(router: Router, hypers: &[u8]) -> Bytes {
    let code = hypers.get(b"HTTP/1.1 ".len()..).and_then(|rest| rest.get(..3));
    let error = match code.and_then(|code| StatusCode::from_bytes(code).ok()) {
        // Hyper has a limit for the path alone only in a head that is all there, and a path beyond it makes a head beyond ours.
        Some(StatusCode::URI_TOO_LONG | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE) => {
            ApiError::HeadTooLarge
        }
        Some(StatusCode::BAD_REQUEST) => ApiError::malformed("this is not an HTTP/1.1 request"),
        _ => return Bytes::copy_from_slice(hypers),
    };
    last_answer(router, error).now_or_never().expect("a refusal waits for nothing")
}
