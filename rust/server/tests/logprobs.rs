//! Golden transcripts of log-probabilities, in chat, in completions, and of prompts.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Stage, post};
use insta::assert_snapshot;
use serde_json::{Value, json};
use streamcore_engine::EngineConfig;

const CHAT: &str = "/v1/chat/completions";
const COMPLETIONS: &str = "/v1/completions";

fn body(mut body: Value, extra: &Value) -> Value {
    body["model"] = json!("toy");
    body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    body
}

fn chat(extra: &Value) -> Value {
    body(json!({ "messages": [{ "role": "user", "content": "hi" }] }), extra)
}

fn completion(extra: &Value) -> Value {
    body(json!({ "prompt": "ab" }), extra)
}

fn play(script: &str, path: &str, body: Value) -> common::Transcript {
    Stage::new(script).play(post(path, body), 1)
}

/// Evaluations read these lists; a token that is half a character must be there with its own bytes and a name of its own.
#[tokio::test(start_paused = true)]
async fn chat_logprobs() {
    let asked = json!({ "logprobs": true, "top_logprobs": 2 });
    assert_snapshot!("chat_logprobs_whole", play("bé", CHAT, chat(&asked)).golden());
    let streamed = json!({ "logprobs": true, "top_logprobs": 1, "stream": true });
    assert_snapshot!("chat_logprobs_stream", play("bé", CHAT, chat(&streamed)).golden());
}

/// Behind a stop string a token's log-probability is a token that nobody shows, and training data that never was.
#[tokio::test(start_paused = true)]
async fn chat_tokens_to_a_stop_string() {
    let asked = json!({ "logprobs": true, "return_token_ids": true, "stop": "##!", "stream": true });
    assert_snapshot!(play("a##b##! never", CHAT, chat(&asked)).golden());
}

/// lm-evaluation-harness sends this and scores the prompt by it.
#[tokio::test(start_paused = true)]
async fn completion_echo_with_logprobs() {
    let asked = json!({ "echo": true, "logprobs": 1, "max_tokens": 1, "prompt": ["aé", [98, 99, 100]] });
    assert_snapshot!("echo_with_logprobs_whole", play("xy", COMPLETIONS, completion(&asked)).golden());
    let streamed = json!({ "echo": true, "logprobs": 0, "max_tokens": 1, "stream": true });
    assert_snapshot!("echo_with_logprobs_stream", play("xy", COMPLETIONS, completion(&streamed)).golden());
    let nothing = json!({ "echo": true, "logprobs": 0, "max_tokens": 0 });
    assert_snapshot!("echo_alone", play("xy", COMPLETIONS, completion(&nothing)).golden());
}

/// vLLM's clients look a prompt's tokens up by their ids.
#[tokio::test(start_paused = true)]
async fn prompt_logprobs() {
    let asked = json!({ "prompt_logprobs": 1, "max_tokens": 1 });
    assert_snapshot!("prompt_logprobs_completion", play("x", COMPLETIONS, completion(&asked)).golden());
    assert_snapshot!("prompt_logprobs_chat", play("x", CHAT, chat(&asked)).golden());
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
