//! The shape of every refusal of a body.

use streamcore_server::error::ApiError;
use streamcore_server::openai::error::ErrorBody;

/// That of the demo model.
pub const VOCAB_SIZE: usize = 2304;

/// # Panics
/// If it is not a 400 in OpenAI's shape, with a message for people and a word for programs.
pub fn check(error: &ApiError) {
    assert_eq!(error.status(), 400, "{error}");
    let body = serde_json::to_value(ErrorBody::new(error)).expect("errors serialise");
    let inner = &body["error"];
    assert!(inner["message"].as_str().is_some_and(|message| (1..2048).contains(&message.len())), "{body}");
    assert_eq!(inner["type"], "invalid_request_error", "{body}");
    let code = inner["code"].as_str().expect("each refusal has a code");
    assert!(code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{body}");
    assert!(inner["param"].is_null() || inner["param"].is_string(), "{body}");
}
