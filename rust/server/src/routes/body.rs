//! Reads a JSON body within its limits.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::{Buf, Bytes};
use http_body_util::{BodyExt, Limited};
use tokio::time::timeout;

use super::content_encoding::{Encoding, not_read};
use super::received_body::ReceivedBody;
use crate::app::App;
use crate::error::ApiError;
use crate::middleware::is_of_foreign_page;

pub(super) const MAX_BODY_BYTES: usize = 16 << 20;
const MAX_BODY_TIME: Duration = Duration::from_secs(60);

/// Reads a body declared as JSON, or undeclared and from no page of another origin. It is charged
/// as it arrives, until its last clone is dropped.
pub(super) async fn read_json(app: &App, headers: &HeaderMap, body: Body) -> Result<Bytes, ApiError> {
    check_media_type(app, headers)?;
    let encoding = Encoding::of(headers)?;
    let announced =
        headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|len| len > MAX_BODY_BYTES) {
        return Err(ApiError::BodyTooLarge(MAX_BODY_BYTES));
    }
    let received = ReceivedBody::new(&app.driver, announced.filter(|_| encoding.is_none()));
    let Ok(read) = timeout(MAX_BODY_TIME, read(encoding, body, received)).await else {
        return Err(ApiError::BodyTimeout(MAX_BODY_TIME.as_secs()));
    };
    read.map(without_mark)
}

async fn read(encoding: Option<Encoding>, body: Body, mut received: ReceivedBody) -> Result<Bytes, ApiError> {
    let mut body = Limited::new(body, MAX_BODY_BYTES);
    if let Some(encoding) = encoding {
        return encoding.read(body, received).await;
    }
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| not_read(&*error))?;
        if let Some(piece) = frame.data_ref() {
            received.add(piece)?;
        }
    }
    Ok(received.into_bytes())
}

/// Removes the byte order mark that some editors and shells write.
fn without_mark(mut body: Bytes) -> Bytes {
    const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();
    if body.starts_with(BYTE_ORDER_MARK) {
        body.advance(BYTE_ORDER_MARK.len());
    }
    body
}

/// Makes a response of serialised JSON.
pub(super) fn json(body: Vec<u8>) -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response()
}

fn check_media_type(app: &App, headers: &HeaderMap) -> Result<(), ApiError> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        let is_foreign = is_of_foreign_page(&app.access.allowed_origins, headers);
        return if is_foreign { Err(ApiError::MediaType("missing".to_owned())) } else { Ok(()) };
    };
    let value = String::from_utf8_lossy(value.as_bytes());
    let media_type = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if media_type == "application/json" || media_type.ends_with("+json") {
        return Ok(());
    }
    Err(ApiError::MediaType(format!("`{value}`")))
}
