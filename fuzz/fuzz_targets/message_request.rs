//! Any body of `/v1/messages` is a request or a 400, never a panic; what is answered can be
//! counted.
#![no_main]

use libfuzzer_sys::fuzz_target;
use streamcore_server::anthropic::request::{parse, parse_count};

#[path = "../refusal.rs"]
mod refusal;

fuzz_target!(|body: &[u8]| {
    match parse(body, refusal::VOCAB_SIZE) {
        Ok(_) => assert!(parse_count(body, refusal::VOCAB_SIZE).is_ok()),
        Err(error) => refusal::check(&error),
    }
});
