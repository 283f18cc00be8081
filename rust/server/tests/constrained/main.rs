//! Answers that are held to something, from a model that draws any token that it may: what it says
//! must be what was asked for, whatever else the request wants.
#![allow(clippy::unwrap_used)]

mod calls;
#[path = "../common/mod.rs"]
mod common;
mod dialects;
mod hostile;
mod messages;
mod streams;
mod thoughts;

use std::borrow::Borrow;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use common::model::{marked_model, text_model};
use common::{Dice, Stage, engine_config, post};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use streamcore_engine::EngineConfig;
use streamcore_parsers::Detected;
use streamcore_server::driver::{Driver, NextStep};
use streamcore_server::text::TextModel;
use tower::ServiceExt;

const CHAT: &str = "/v1/chat/completions";
const COMPLETIONS: &str = "/v1/completions";
/// All that a format of calls or of reasoning has as a token.
const MARKERS: [&str; 46] = [
    "<tool_call>",
    "</tool_call>",
    "<|tool_call|>",
    "<|/tool_call|>",
    "[TOOL_CALLS]",
    "[ARGS]",
    "[CALL_ID]",
    "<|python_tag|>",
    "<|python_start|>",
    "<|python_end|>",
    "<|tool_call_start|>",
    "<|tool_call_end|>",
    "<function_calls>",
    "</function_calls>",
    "<|tool_call>",
    "<tool_call|>",
    "<|\"|>",
    "<start_function_call>",
    "<end_function_call>",
    "<escape>",
    "<arg_key>",
    "</arg_key>",
    "<arg_value>",
    "</arg_value>",
    "<｜tool▁calls▁begin｜>",
    "<｜tool▁calls▁end｜>",
    "<｜tool▁call▁begin｜>",
    "<｜tool▁call▁end｜>",
    "<｜tool▁sep｜>",
    "<|channel|>",
    "<|message|>",
    "<|start|>",
    "<|end|>",
    "<|call|>",
    "<|constrain|>",
    "<|return|>",
    "<think>",
    "</think>",
    "[THINK]",
    "[/THINK]",
    "<|channel>",
    "<channel|>",
    "<|turn>",
    "<turn|>",
    "<function=",
    "</function>",
];

/// A server whose steps run by themselves.
struct Live {
    router: Router,
    driver: Arc<Driver>,
    steps: Option<JoinHandle<()>>,
}

impl Live {
    fn new(text: &TextModel, formats: Detected, seed: u64, depth: usize) -> Self {
        let config = EngineConfig {
            num_blocks: 2048,
            max_model_len: 4096,
            max_num_batched_tokens: 512,
            max_steps_in_flight: depth,
            num_mask_words: 10,
            ..engine_config()
        };
        let Stage { router, mut runner, .. } = Stage::with_parsers(text, config, formats, &[vec![]]);
        runner.dice = Some(Dice(seed + 1));
        let driver = Arc::clone(&runner.driver);
        let run = move || while runner.step(Duration::from_millis(100)) != NextStep::Stopped {};
        Self { router, driver, steps: Some(std::thread::spawn(run)) }
    }

    async fn ask(&self, path: &'static str, body: Value) -> (u16, Value) {
        let response = self.router.clone().oneshot(post(path, body)).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap())
    }

    /// Returns the choices of an answer with 200.
    async fn choices(&self, path: &'static str, body: Value) -> Vec<Value> {
        let (status, mut answer) = self.ask(path, body.clone()).await;
        assert_eq!(status, 200, "{body}\n{answer}");
        answer["choices"].as_array_mut().unwrap().drain(..).collect()
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.driver.stop();
        if let Some(steps) = self.steps.take() {
            let ended = steps.join();
            assert!(ended.is_ok() || std::thread::panicking(), "the steps have failed");
        }
    }
}

fn plain(seed: u64, depth: usize) -> Live {
    Live::new(&text_model(), Detected::default(), seed, depth)
}

fn chat(more: impl Borrow<Value>) -> Value {
    let mut body =
        json!({ "model": "toy", "messages": [{ "role": "user", "content": "hi" }], "max_tokens": 3000 });
    body.as_object_mut().unwrap().extend(more.borrow().as_object().unwrap().clone());
    body
}

fn schema() -> Value {
    json!({
        "type": "object",
        "properties": { "city": { "enum": ["Oslo", "Rome"] }, "days": { "type": "integer", "minimum": 1, "maximum": 9 } },
        "required": ["city", "days"],
        "additionalProperties": false,
    })
}

fn is_of_schema(text: &str) -> bool {
    let Ok(Value::Object(object)) = serde_json::from_str(text) else { return false };
    object.len() == 2
        && ["Oslo", "Rome"].contains(&object["city"].as_str().unwrap_or_default())
        && (1..=9).contains(&object["days"].as_i64().unwrap_or_default())
}

type Check = fn(&str) -> bool;

/// The ways to ask for something, each with what it must be.
fn ways() -> Vec<(Value, Check)> {
    let is_word: Check = |text| ["yes", "no", "может быть"].contains(&text);
    let is_tag: Check = |text| {
        let inner = text.strip_prefix("<a>").and_then(|rest| rest.strip_suffix("</a>"));
        inner.is_some_and(is_of_schema)
    };
    let is_digits: Check =
        |text| (2..=3).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    // A number may be as large as it likes.
    let is_object: Check = |text| match serde_json::from_str::<serde_json::Map<_, Value>>(text) {
        Ok(_) => true,
        Err(error) => error.to_string().starts_with("number out of range"),
    };
    let tag = json!({ "type": "structural_tag",
        "format": { "type": "tag", "begin": "<a>", "content": { "type": "json_schema", "json_schema": schema() }, "end": "</a>" } });
    let lark = "start: /[0-9]{2,3}/";
    vec![
        (
            json!({ "response_format": { "type": "json_schema", "json_schema": { "name": "x", "strict": true, "schema": schema() } } }),
            is_of_schema,
        ),
        (
            json!({ "response_format": { "type": "json_schema", "json_schema": { "schema": schema() } } }),
            is_of_schema,
        ),
        (json!({ "response_format": { "type": "json_object", "schema": schema() } }), is_of_schema),
        (json!({ "response_format": { "type": "json_object" } }), is_object),
        (json!({ "response_format": tag }), is_tag),
        (json!({ "structured_outputs": { "json": schema() } }), is_of_schema),
        (json!({ "structured_outputs": { "json": schema().to_string() } }), is_of_schema),
        (
            json!({ "structured_outputs": { "json": schema(), "disable_any_whitespace": true, "regex": null } }),
            |text| is_of_schema(text) && !text.contains([' ', '\n', '\t']),
        ),
        (json!({ "structured_outputs": { "regex": "[0-9]{2,3}" } }), is_digits),
        (json!({ "structured_outputs": { "choice": ["yes", "no", "может быть"] } }), is_word),
        (json!({ "structured_outputs": { "grammar": lark } }), is_digits),
        (json!({ "structured_outputs": { "json_object": true } }), is_object),
        (json!({ "structured_outputs": { "structural_tag": tag.to_string() } }), is_tag),
        (json!({ "guided_json": schema() }), is_of_schema),
        (json!({ "guided_json": schema().to_string(), "guided_decoding_backend": "outlines" }), is_of_schema),
        (json!({ "guided_regex": "[0-9]{2,3}" }), is_digits),
        (json!({ "guided_choice": ["yes", "no", "может быть"] }), is_word),
        (json!({ "guided_grammar": lark }), is_digits),
        (json!({ "guided_json_object": true }), is_object),
    ]
}

/// A program that parses the answer would fail at the first word too many.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_is_what_it_is_held_to() {
    for depth in [1, 2] {
        let live = plain(depth as u64, depth);
        for (more, is_right) in ways() {
            for choice in live.choices(CHAT, chat(json_merge(&more, &json!({ "n": 3 })))).await {
                let text = choice["message"]["content"].as_str().unwrap();
                assert!(choice["finish_reason"] == "length" || is_right(text), "{more}: {text:?}");
            }
            let prompt = json_merge(&more, &json!({ "model": "toy", "prompt": "hi", "max_tokens": 3000 }));
            let text = &live.choices(COMPLETIONS, prompt).await[0];
            let is_cut = text["finish_reason"] == "length";
            assert!(is_cut || is_right(text["text"].as_str().unwrap()), "{more}: {text}");
        }
    }
}

fn json_merge(one: &Value, other: &Value) -> Value {
    let mut all = one.clone();
    all.as_object_mut().unwrap().extend(other.as_object().unwrap().clone());
    all
}

/// The rest of a request must hold as well: usage, stops and reported tokens.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_other_fields_hold_beside_a_grammar() {
    for depth in [1, 2] {
        let live = plain(7, depth);
        let regex = |more: Value| chat(json_merge(&json!({ "guided_regex": "[ab]{40}c*" }), &more));
        let stopped = &live.choices(CHAT, regex(json!({ "stop": ["ab"] }))).await[0];
        let text = stopped["message"]["content"].as_str().unwrap();
        assert!(!text.contains("ab") && text.len() < 40 && stopped["finish_reason"] == "stop", "{stopped}");
        let cut = &live.choices(CHAT, regex(json!({ "max_tokens": 5 }))).await[0];
        assert_eq!(
            (cut["message"]["content"].as_str().unwrap().len(), &cut["finish_reason"]),
            (5, &json!("length"))
        );
        let long = &live.choices(CHAT, regex(json!({ "min_tokens": 50 }))).await[0];
        let text = long["message"]["content"].as_str().unwrap();
        assert!(text.len() >= 50 && text.ends_with("cccccccccc"), "{text}");
        // What can only end does so.
        let short = chat(json!({ "guided_choice": ["aaa"], "min_tokens": 50 }));
        assert_eq!(live.choices(CHAT, short).await[0]["message"]["content"], "aaa");
        let scored =
            &live.choices(CHAT, regex(json!({ "logprobs": true, "return_token_ids": true }))).await[0];
        let (text, tokens) =
            (scored["message"]["content"].as_str().unwrap(), scored["logprobs"]["content"].as_array());
        let told: String = tokens.unwrap().iter().map(|token| token["token"].as_str().unwrap()).collect();
        // The end token has no text.
        assert_eq!((told.as_str(), scored["token_ids"].as_array().unwrap().len()), (text, text.len() + 1));
        let biased = regex(json!({ "logit_bias": { "97": -100 }, "seed": 1, "frequency_penalty": 1.0 }));
        assert_eq!(live.choices(CHAT, biased).await.len(), 1);
        let (_, told) = live.ask(CHAT, chat(json!({ "guided_choice": ["abcdef"] }))).await;
        assert_eq!(told["usage"]["completion_tokens"], 7, "forced tokens are generated like others");
    }
}

/// Returns the toy with every marker as a token of its own.
fn marked() -> TextModel {
    static MODEL: OnceLock<TextModel> = OnceLock::new();
    let markers = MARKERS.map(|marker| (marker, true));
    MODEL.get_or_init(|| marked_model("constrained", &markers, &[]).0).clone()
}
