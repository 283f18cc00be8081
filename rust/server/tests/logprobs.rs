//! Log-probabilities of a long answer.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Stage, post};
use serde_json::{Value, json};
use streamcore_engine::EngineConfig;

const CHAT: &str = "/v1/chat/completions";

fn chat(extra: &Value) -> Value {
    let mut body = json!({ "model": "toy", "messages": [{ "role": "user", "content": "hi" }] });
    body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    body
}

/// The same request must tell the same tokens however the steps are cut, and each event must fit into a client's buffer.
#[tokio::test(start_paused = true)]
async fn tokens_do_not_depend_on_how_the_steps_are_cut() {
    let script = "né 🦀 ## {} END".repeat(12);
    let asked = json!({
        "logprobs": true, "top_logprobs": 20, "return_token_ids": true, "stream": true, "stop": ["END né 🦀 ## {} END!", "€"],
    });
    let config = EngineConfig { num_blocks: 256, max_model_len: 1000, ..common::engine_config() };
    let mut expected = None;
    for steps_per_read in [1, 2, 3, 7, 500] {
        let mut stage = Stage::with_config(&script, config.clone(), common::limits());
        let transcript = stage.play(post(CHAT, chat(&asked)), steps_per_read);
        assert!(transcript.writes.concat().split("\n\n").all(|event| event.len() < 64 << 10));
        let (mut text, mut bytes, mut ids) = (String::new(), Vec::new(), Vec::new());
        for choice in transcript.events().iter().map(|event| &event["choices"][0]) {
            let content = choice["delta"]["content"].as_str().unwrap_or_default();
            let entries = choice["logprobs"]["content"].as_array().cloned().unwrap_or_default();
            let own: Vec<u8> = entries
                .iter()
                .flat_map(|entry| entry["bytes"].as_array().unwrap())
                .map(|byte| byte.as_u64().unwrap() as u8)
                .collect();
            assert_eq!(own, content.as_bytes(), "the bytes of a chunk's tokens are its text");
            text.push_str(content);
            bytes.extend(own);
            ids.extend(choice["token_ids"].as_array().into_iter().flatten().map(|id| id.as_u64().unwrap()));
        }
        assert_eq!(text, script);
        assert_eq!(ids.pop(), Some(u64::from(common::model::END_TOKEN)), "the end token has no text");
        assert_eq!(ids, script.bytes().map(u64::from).collect::<Vec<_>>());
        assert_eq!(*expected.get_or_insert(bytes.clone()), bytes);
    }
}
