//! Details of answers beside text, and the forms of prompts.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Stage, get, post};
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

/// A client that lines tokens and log-probabilities up would be one short where the stop token is
/// part of the answer.
#[tokio::test(start_paused = true)]
async fn a_stop_token_that_is_shown_has_its_log_probability() {
    let asked = json!({
        "stop_token_ids": [33], "include_stop_str_in_output": true, "return_token_ids": true, "logprobs": true, "top_logprobs": 1,
    });
    let answer: Value = serde_json::from_str(&play("a!b", CHAT, chat(&asked)).body()).unwrap();
    let choice = &answer["choices"][0];
    assert_eq!((&choice["message"]["content"], &choice["token_ids"]), (&json!("a!"), &json!([97, 33])));
    let scores = choice["logprobs"]["content"].as_array().unwrap();
    let tokens: Vec<_> = scores.iter().map(|score| score["token"].as_str().unwrap()).collect();
    assert_eq!(tokens, ["a", "!"]);
    assert!(scores[1]["logprob"].is_f64() && scores[1]["top_logprobs"].as_array().unwrap().len() == 1);
}

/// Returns what a completion makes of a script behind a prompt, with the space at the start of a
/// text dropped: its only choice.
fn choice_behind(prompt: &Value, script: &[u8], extra: &Value) -> Value {
    let mut stage = Stage::with_tokenizer(script, common::model::stripping_tokenizer());
    let mut asked = completion(&json!({ "prompt": prompt }));
    asked.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    let answer: Value = serde_json::from_str(&stage.play(post(COMPLETIONS, asked), 1).body()).unwrap();
    answer["choices"][0].clone()
}

/// Prompt and answer would run together, and a client that puts them side by side would show
/// another text than the model's.
#[tokio::test(start_paused = true)]
async fn an_answer_goes_on_where_its_prompt_ends() {
    let logprobs = json!({ "logprobs": 0, "echo": true });
    let choice = choice_behind(&json!(" on"), b" a", &logprobs);
    assert_eq!(choice["text"], " on a");
    assert_eq!(choice["logprobs"]["tokens"], json!(["", "o", "n", " ", "a"]));
    assert_eq!(choice["logprobs"]["text_offset"], json!([0, 1, 2, 3, 4]));
    let text =
        |prompt: Value, script: &[u8], extra: Value| choice_behind(&prompt, script, &extra)["text"].clone();
    assert_eq!(text(json!("on"), b" a", json!({})), " a");
    assert_eq!(text(json!("on"), b" a", json!({ "echo": true })), "on a");
    assert_eq!(text(json!([256]), b" a", json!({})), "a", "a special token is no text");
    assert_eq!(text(json!([256]), b" a", json!({ "skip_special_tokens": false })), " a");
}

/// A prompt may end inside a character, as when a client continues what `max_tokens` has cut; its
/// rest would be shown as broken.
#[tokio::test(start_paused = true)]
async fn an_answer_completes_the_character_in_which_its_prompt_ends() {
    let prompt = json!([120, 0xe2, 0x82]);
    for (extra, whole, broken) in [
        (json!({}), "€!", "\u{fffd}!"),
        (json!({ "echo": true }), "x€!", "x\u{fffd}!"),
        (json!({ "echo": true, "logprobs": 1 }), "x€!", "x\u{fffd}!"),
    ] {
        assert_eq!(choice_behind(&prompt, b"\xac!", &extra)["text"], whole);
        assert_eq!(choice_behind(&prompt, b"!", &extra)["text"], broken);
    }
    let alone = json!({ "echo": true, "max_tokens": 0 });
    assert_eq!(choice_behind(&prompt, b"\xac", &alone)["text"], "x\u{fffd}");
}

/// A prompt of tokens, or its end, must be what the client said.
#[tokio::test(start_paused = true)]
async fn prompts_can_be_cut() {
    for (extra, num_tokens) in [
        (json!({ "prompt": "abcdef", "truncate_prompt_tokens": 2 }), 2),
        (json!({ "prompt": "abcdef", "truncate_prompt_tokens": 9 }), 6),
        (json!({ "prompt": "x".repeat(500), "truncate_prompt_tokens": -1, "max_tokens": 8 }), 120),
        // The default of `max_tokens` is no less an answer.
        (json!({ "prompt": "x".repeat(500), "truncate_prompt_tokens": -1 }), 112),
    ] {
        let body = play("x", COMPLETIONS, completion(&extra)).body();
        assert!(body.contains(&format!("\"prompt_tokens\":{num_tokens},")), "{body}");
    }
    let long = json!([{ "role": "user", "content": "x".repeat(500) }]);
    let body = play("x", CHAT, chat(&json!({ "messages": long, "truncate_prompt_tokens": -1 }))).body();
    assert!(body.contains("\"prompt_tokens\":96,"), "{body}");
    let body = play("x", COMPLETIONS, completion(&json!({ "truncate_prompt_tokens": 0 }))).body();
    assert!(
        body.contains("`truncate_prompt_tokens` is 0, it must be between 1 and 2147483648, or -1"),
        "{body}"
    );
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

/// Who pays for tokens that were cached pays twice, or learns from the bill what another client has
/// asked.
#[tokio::test(start_paused = true)]
async fn cached_tokens_are_told() {
    let mut stage = Stage::new("x");
    let prompts = json!(["abcdefghij", "klmnopqrst"]);
    let mut cached = |extra: Value| {
        let asked = completion(&body(json!({ "prompt": prompts, "n": 2, "max_tokens": 2 }), &extra));
        let transcript = stage.play(post(COMPLETIONS, asked), 1);
        let body = transcript.body();
        let last = body.rsplit("\"prompt_tokens_details\":").next().unwrap();
        assert!(body.contains("\"prompt_tokens\":20,"), "{body}");
        let num_told = body.matches("cached_tokens").count();
        (last.split('}').next().unwrap().to_owned(), num_told)
    };
    let streamed = json!({ "stream": true, "stream_options": { "include_usage": true } });
    let mut continuous = streamed.clone();
    continuous["stream_options"]["continuous_usage_stats"] = json!(true);
    let told = |num_tokens: usize| format!("{{\"cached_tokens\":{num_tokens}");
    // Blocks have four tokens, and the last token of a prompt is always computed.
    assert_eq!(
        cached(json!({})),
        (told(0), 1),
        "the second choice of a prompt shares its blocks, and nobody is told"
    );
    assert_eq!(cached(json!({})), (told(16), 1));
    assert_eq!(cached(streamed), (told(16), 1));
    assert_eq!(cached(continuous), (told(16), 9), "in the texts and the ends of four choices, and at last");
    assert_eq!(cached(json!({ "cache_salt": "s" })), (told(0), 1));
}

/// A bill that is checked against the dashboard must agree with it, the token that ended the answer
/// included.
#[tokio::test(start_paused = true)]
async fn metrics_count_the_tokens_that_usage_counts() {
    let mut stage = Stage::new("abc");
    let answer: Value = serde_json::from_str(&stage.play(post(CHAT, chat(&json!({}))), 1).body()).unwrap();
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    let num_tokens = answer["usage"]["completion_tokens"].as_u64().unwrap();
    assert_eq!(num_tokens, 4);
    let (_, page) = stage.answer(get("/metrics")).await;
    for name in ["generation_tokens_total", "request_generation_tokens_sum"] {
        let name = format!("streamcore_{name} ");
        let line = page.lines().find(|line| line.starts_with(&name)).unwrap();
        assert_eq!(line, format!("{name}{num_tokens}"));
    }
}
