//! Any body of `/v1/chat/completions` is a request or a 400 with a body in OpenAI's shape, never a
//! panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use streamcore_server::openai::chat::request::ChatRequest;

#[path = "../refusal.rs"]
mod refusal;

fuzz_target!(|body: &[u8]| {
    if let Err(error) = ChatRequest::parse(body, refusal::VOCAB_SIZE) {
        refusal::check(&error);
    }
});
