//! Golden transcripts of what an answer tells beside its text: token ids, usage, several choices, names.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Stage, post};
use insta::assert_snapshot;
use serde_json::{Value, json};

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

/// Trainers feed these ids back to the model: prompt and answer must be exactly the tokens that it saw and wrote.
#[tokio::test(start_paused = true)]
async fn token_ids() {
    let asked = json!({ "return_token_ids": true });
    let streamed = json!({ "return_token_ids": true, "stream": true });
    assert_snapshot!("chat_token_ids_whole", play("é", CHAT, chat(&asked)).golden());
    assert_snapshot!("chat_token_ids_stream", play("é", CHAT, chat(&streamed)).golden());
    assert_snapshot!("completion_token_ids_whole", play("é", COMPLETIONS, completion(&asked)).golden());
    assert_snapshot!("completion_token_ids_stream", play("é", COMPLETIONS, completion(&streamed)).golden());
}

/// Two prompts with two choices each are told apart by `prompt * n + k`, and each prompt is paid for once.
#[tokio::test(start_paused = true)]
async fn several_choices() {
    let asked = json!({ "prompt": ["ab", "cd"], "n": 2, "max_tokens": 1 });
    assert_snapshot!("several_choices_whole", play("x", COMPLETIONS, completion(&asked)).golden());
    let streamed =
        json!({ "n": 2, "max_tokens": 1, "stream": true, "stream_options": { "include_usage": true } });
    assert_snapshot!("several_choices_stream", play("x", CHAT, chat(&streamed)).golden());
}

/// Load generators count tokens by these numbers; the last of them must be the bill.
#[tokio::test(start_paused = true)]
async fn usage_in_every_chunk() {
    let options = json!({ "include_usage": true, "continuous_usage_stats": true });
    assert_snapshot!(play("Hi", CHAT, chat(&json!({ "stream": true, "stream_options": options }))).golden());
}

/// A client finds its answer again by the name that it gave.
#[tokio::test(start_paused = true)]
async fn the_request_id_is_in_the_id() {
    for (path, body, id) in [
        (CHAT, chat(&json!({ "request_id": "my.own-1" })), "chatcmpl-my.own-1"),
        (COMPLETIONS, completion(&json!({ "request_id": "my.own-1" })), "cmpl-my.own-1"),
    ] {
        let transcript = play("x", path, body);
        assert!(transcript.body().contains(&format!("\"id\":\"{id}\"")), "{}", transcript.body());
        assert_eq!(transcript.head.headers()["x-request-id"], "t1");
    }
}

/// A parser that waits for the stop string, or for a special token, would wait for ever.
#[tokio::test(start_paused = true)]
async fn what_ends_an_answer_can_be_part_of_it() {
    let text = |script, extra: Value| {
        let body = play(script, COMPLETIONS, completion(&extra)).body();
        let answer: Value = serde_json::from_str(&body).unwrap();
        answer["choices"][0]["text"].as_str().unwrap().to_owned()
    };
    assert_eq!(text("aEND b", json!({ "stop": "END", "include_stop_str_in_output": true })), "aEND");
    assert_eq!(text("a!b", json!({ "stop_token_ids": [33], "include_stop_str_in_output": true })), "a!");
    let special = json!({ "include_stop_str_in_output": true, "skip_special_tokens": false });
    assert_eq!(text("a", special), "a<end>");
    assert_eq!(text("aENDbENDc", json!({ "stop": "END", "min_tokens": 5 })), "aENDb");
    assert_eq!(text("abc", json!({ "return_tokens_as_token_ids": true })), "abc");
}

/// A prompt of tokens, or its end, must be what the client said.
#[tokio::test(start_paused = true)]
async fn prompts_can_be_cut() {
    for (extra, num_tokens) in [
        (json!({ "prompt": "abcdef", "truncate_prompt_tokens": 2 }), 2),
        (json!({ "prompt": "abcdef", "truncate_prompt_tokens": 9 }), 6),
        (json!({ "prompt": "x".repeat(500), "truncate_prompt_tokens": -1, "max_tokens": 8 }), 120),
    ] {
        let body = play("x", COMPLETIONS, completion(&extra)).body();
        assert!(body.contains(&format!("\"prompt_tokens\":{num_tokens},")), "{body}");
    }
}

/// The time to the first token would tell one client what another has asked.
#[tokio::test(start_paused = true)]
async fn cached_prompts_are_shared_only_by_those_who_may() {
    let mut stage = Stage::with_keys(&["first", "second"]);
    let mut num_hits = 0;
    let mut hits = |key: &str, extra: Value| {
        let mut request = post(COMPLETIONS, completion(&body(json!({ "prompt": "abcdefghij" }), &extra)));
        request.headers_mut().insert("x-api-key", key.parse().unwrap());
        assert_eq!(stage.play(request, 1).head.status(), 200);
        let before = std::mem::replace(&mut num_hits, stage.runner.driver.stats().prefix_cache_hits);
        num_hits > before
    };
    let (nothing, salt) = (json!({}), json!({ "cache_salt": "x" }));
    assert!(!hits("first", nothing.clone()) && hits("first", nothing.clone()));
    assert!(!hits("second", nothing.clone()) && hits("second", nothing));
    assert!(!hits("first", salt.clone()) && hits("first", salt.clone()));
    assert!(!hits("second", salt));
}
