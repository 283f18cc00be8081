//! Any body of `/v1/responses`, and of the count of its tokens, is a request or a 400 in OpenAI's
//! shape, never a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};
use streamcore_server::error::ApiError;
use streamcore_server::openai::responses::{Kept, Past, ResponsesRequest, stored_input};

#[path = "../refusal.rs"]
mod refusal;

/// A client for whom one turn is kept, whatever it is asked for by.
#[derive(Debug)]
struct Turn;

impl Kept for Turn {
    fn conversation(&self, _: &str) -> Result<Vec<Value>, ApiError> {
        Ok(["user", "assistant"].map(|role| json!({ "role": role, "content": "hi" })).into())
    }

    fn item(&self, id: &str) -> Result<Option<Value>, ApiError> {
        Ok(Some(json!({ "type": "function_call", "id": id, "call_id": "c", "name": "f", "arguments": "{}" })))
    }
}

fuzz_target!(|body: &[u8]| {
    for past in [Past::Nothing, Past::Kept(&Turn)] {
        match ResponsesRequest::parse(body, refusal::VOCAB_SIZE, past) {
            Ok(request) => {
                let num_items = request.input.len();
                assert_eq!(stored_input(request.input, "1").len(), num_items);
            }
            Err(error) => refusal::check(&error),
        }
    }
});
