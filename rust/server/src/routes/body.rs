//! Reads a JSON body within its limits.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body_util::LengthLimitError;
use tokio::time::timeout;

use crate::app::App;
use crate::error::ApiError;
use crate::middleware::is_of_foreign_page;

const MAX_BODY_BYTES: usize = 16 << 20;
const MAX_BODY_TIME: Duration = Duration::from_secs(60);

/// The body of a request that says that it is JSON, or says nothing and comes from no page of another origin.
pub(super) async fn read_json(app: &App, headers: &HeaderMap, body: Body) -> Result<Bytes, ApiError> {
    check_media_type(app, headers)?;
    let too_large = ApiError::BodyTooLarge(MAX_BODY_BYTES);
    let announced =
        headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|len| len > MAX_BODY_BYTES) {
        return Err(too_large);
    }
    let Ok(read) = timeout(MAX_BODY_TIME, to_bytes(body, MAX_BODY_BYTES)).await else {
        return Err(ApiError::BodyTimeout(MAX_BODY_TIME.as_secs()));
    };
    read.map_err(|error| {
        let error = error.into_inner();
        if error.is::<LengthLimitError>() {
            return too_large;
        }
        ApiError::Invalid {
            code: "invalid_body",
            param: None,
            message: format!("body could not be read: {error}"),
        }
    })
}

/// An answer that is JSON already.
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
