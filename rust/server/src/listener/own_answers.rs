//! Answers to bytes that never become a request: with the shape, id, log and metrics of all others.

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderValue, StatusCode, header};
use bytes::Bytes;
use futures_util::FutureExt;
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;

use super::head::ForeignProtocol;
use crate::error::ApiError;
use crate::middleware;

/// Returns the whole of an answer after which the connection is closed.
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

/// Returns the answer to a client that speaks another protocol, in words that its user gets to see.
pub(super) fn to_foreign(router: Router, protocol: ForeignProtocol) -> Bytes {
    let refused = match protocol {
        ForeignProtocol::Http2 => refused_in_http2(router).now_or_never(),
        ForeignProtocol::Tls => last_answer(
            router,
            ApiError::malformed("this is TLS, and the server speaks plain HTTP on this port: use `http://`"),
        )
        .now_or_never(),
    };
    refused.expect("a refusal waits for nothing")
}

/// Returns the two frames with which an HTTP/2 server refuses a client: its settings, which must
/// come first, and a GOAWAY. Client libraries show its text, which is readable in the bytes too.
async fn refused_in_http2(router: Router) -> Bytes {
    const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    const GOAWAY: u8 = 7;
    const LAST_STREAM: [u8; 4] = 0_u32.to_be_bytes();
    const HTTP_1_1_REQUIRED: [u8; 4] = 13_u32.to_be_bytes();
    let error =
        ApiError::protocol("this server speaks HTTP/1.1, and HTTP/2 only behind a proxy that translates it");
    let text = error.to_string();
    // It gets an id, is logged and counted like any refusal; only its form differs.
    let answer = middleware::answer(router, middleware::unread(Body::empty()), Err(error)).await;
    let _ = to_bytes(answer.into_body(), usize::MAX).await;
    let len = (LAST_STREAM.len() + HTTP_1_1_REQUIRED.len() + text.len()).to_be_bytes();
    let frame_head = [&len[len.len() - 3..], &[GOAWAY, 0, 0, 0, 0, 0]].concat();
    [&SETTINGS[..], &frame_head, &LAST_STREAM, &HTTP_1_1_REQUIRED, text.as_bytes()].concat().into()
}

/// Returns the answer that replaces hyper's own, which has only a status.
pub(super) fn in_place_of(router: Router, hypers: &[u8]) -> Bytes {
    let code = hypers.get(b"HTTP/1.1 ".len()..).and_then(|rest| rest.get(..3));
    let error = match code.and_then(|code| StatusCode::from_bytes(code).ok()) {
        // Hyper limits the path alone only in a complete head, and such a path makes a head beyond
        // our limit.
        Some(StatusCode::URI_TOO_LONG | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE) => {
            ApiError::HeadTooLarge
        }
        Some(StatusCode::BAD_REQUEST) => ApiError::malformed("this is not an HTTP/1.1 request"),
        _ => return Bytes::copy_from_slice(hypers),
    };
    last_answer(router, error).now_or_never().expect("a refusal waits for nothing")
}
