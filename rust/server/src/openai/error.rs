//! The shape of every error, before and after the headers.

use serde::Serialize;

use crate::error::ApiError;

/// `{"error": {...}}`
#[derive(Debug, Serialize)]
pub struct ErrorBody<'a> {
    error: ErrorObject<'a>,
}

#[derive(Debug, Serialize)]
struct ErrorObject<'a> {
    message: String,
    r#type: &'static str,
    param: Option<&'a str>,
    code: &'a str,
}

impl<'a> ErrorBody<'a> {
    /// The wire form of an error.
    #[must_use]
    pub fn new(error: &'a ApiError) -> Self {
        let message = error.to_string();
        Self {
            error: ErrorObject { message, r#type: error.family(), param: error.param(), code: error.code() },
        }
    }
}
