//! Log-probabilities of a long answer.
#![allow(clippy::unwrap_used)]

mod common;

use common::contract::{Asked, read};
use common::{Stage, post};
use serde_json::{Value, json};
use streamcore_engine::EngineConfig;

const CHAT: &str = "/v1/chat/completions";

fn chat(extra: &Value) -> Value {
    let mut body = json!({ "model": "toy", "messages": [{ "role": "user", "content": "hi" }] });
    body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    body
}

/// The same request must tell the same tokens however the steps are cut, and each event must fit
/// into a client's buffer.
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

/// A model that repeats its end token would make one event of several megabytes, which breaks
/// clients with line buffers.
#[tokio::test(start_paused = true)]
async fn tokens_without_text_come_in_pieces() {
    let config = EngineConfig { num_blocks: 256, max_model_len: 1000, ..common::engine_config() };
    // At last, text that may become a stop string has them all wait.
    for (script, stop) in [("", json!(null)), ("a", json!(null)), ("a#", json!("#!"))] {
        let body = chat(&json!({
            "ignore_eos": true, "max_tokens": 200, "logprobs": true, "top_logprobs": 20, "return_token_ids": true,
            "stream": true, "stop": stop,
        }));
        for steps_per_read in [1, 7, 500] {
            let mut stage = Stage::with_config(script, config.clone(), common::limits());
            let transcript = stage.play(post(CHAT, body.clone()), steps_per_read);
            let told = read(&transcript, Asked::of(CHAT, &body)).unwrap();
            let choice = &told["choices"][0][1];
            assert_eq!(choice["text"], script);
            for list in ["token_ids", "logprobs.content"] {
                assert_eq!(choice[list].as_array().unwrap().len(), 200, "{list}");
            }
            assert!(transcript.events().len() > 4, "they do not wait for the end");
        }
    }
}

/// Scores of an echoed prompt would be missing, and those of the answer be taken for them.
#[tokio::test(start_paused = true)]
async fn an_echoed_prompt_without_text_has_its_tokens() {
    let end = common::model::END_TOKEN;
    let body = json!({
        "model": "toy", "prompt": vec![end; 40], "echo": true, "logprobs": 1, "max_tokens": 2, "stream": true,
    });
    let path = "/v1/completions";
    let told = read(&Stage::new("ab").play(post(path, body.clone()), 1), Asked::of(path, &body)).unwrap();
    let choice = &told["choices"][0][1];
    assert_eq!((&choice["text"], choice["logprobs.tokens"].as_array().unwrap().len()), (&json!("ab"), 42));
}
