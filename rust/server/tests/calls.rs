//! Calls and reasoning, whatever the model says: the rules of the stream, and one story by every
//! way of asking.
#![allow(clippy::unwrap_used)]

mod common;

use common::contract::{Asked, read};
use common::model::{END_TOKEN, marked_model, text_model, tokens_of};
use common::{Stage, engine_config, post};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use serde_json::{Value, json};
use streamcore_engine::EngineConfig;
use streamcore_parsers::{Detected, ReasoningFormat, ToolFormat};

const CHAT: &str = "/v1/chat/completions";

/// Numbers below this stand for pieces.
const NUM_PIECES: usize = 24;

/// Formats, and what models of them write, right and wrong.
type Family = (ToolFormat, Option<ReasoningFormat>, &'static [(&'static str, bool)], &'static [&'static str]);

const HERMES: &[(&str, bool)] =
    &[("<think>", false), ("</think>", false), ("<tool_call>", false), ("</tool_call>", false)];
const JSON: &[&str] = &[
    "{\"name\":\"f\",\"arguments\":",
    "{\"name\":",
    "\"g\",",
    "\"arguments\":{",
    "\"x\":",
    "\"a",
    "\\\"",
    "[1,",
    "null]",
    "{}",
    "}",
    "}}",
    "<tool",
    "_call>",
    "\n",
    "é🦀",
    "END",
    "E",
    "f",
];

/// Beginnings of calls and of thoughts, which pieces by chance seldom are.
const PHRASES: [&[&[&str]]; 4] = [HERMES_PHRASES, HERMES_PHRASES, MISTRAL_PHRASES, HARMONY_PHRASES];
const HERMES_PHRASES: &[&[&str]] = &[
    &["<tool_call>", "{\"name\":\"f\",\"arguments\":", "{}", "}", "</tool_call>"],
    &["<tool_call>", "{\"name\":", "\"g\",", "\"arguments\":{"],
    &["<think>", "E", "</think>"],
    &["<think>", "é🦀"],
];
const MISTRAL_PHRASES: &[&[&str]] = &[
    &["[TOOL_CALLS]", "f", "[ARGS]", "{}"],
    &["[TOOL_CALLS]", "f", "[CALL_ID]", "f", "[ARGS]"],
    &["[THINK]", "E", "[/THINK]"],
];
const HARMONY_PHRASES: &[&[&str]] = &[
    &[
        "<|channel|>",
        "commentary",
        " to=functions.f",
        "<|constrain|>",
        " json",
        "<|message|>",
        "{\"x\":",
        "1}",
    ],
    &["<|channel|>", "analysis", "<|message|>", "E", "<|end|>"],
    &["<|start|>", "assistant", "<|channel|>", "final", "<|message|>"],
];

const FAMILIES: [Family; 4] = [
    (ToolFormat::Hermes, Some(ReasoningFormat::Qwen3), HERMES, JSON),
    (ToolFormat::Hermes, Some(ReasoningFormat::Qwen3), &[], JSON),
    (
        ToolFormat::Mistral,
        Some(ReasoningFormat::Mistral),
        &[
            ("[TOOL_CALLS]", true),
            ("[ARGS]", true),
            ("[CALL_ID]", true),
            ("[THINK]", true),
            ("[/THINK]", true),
        ],
        JSON,
    ),
    (
        ToolFormat::Openai,
        Some(ReasoningFormat::OpenaiGptoss),
        &[
            ("<|start|>", true),
            ("<|channel|>", true),
            ("<|message|>", true),
            ("<|end|>", true),
            ("<|call|>", true),
            ("<|constrain|>", true),
        ],
        &[
            "analysis",
            "commentary",
            "final",
            " to=functions.f",
            " json",
            "assistant",
            "{}",
            "{\"x\":",
            "1}",
            "E",
            "é",
        ],
    ),
];

/// Returns a stage on which the n-th choice says the n-th of these lists: low numbers stand for
/// pieces, high ones for phrases.
fn stage(family: usize, choices: &[Vec<usize>], max_steps_in_flight: usize) -> Stage {
    let (tools, reasoning, markers, pieces) = FAMILIES[family];
    let mut letters = pieces.to_vec();
    if markers.is_empty() {
        letters.extend(HERMES.iter().map(|(marker, _)| *marker));
    }
    let (text, ids) = marked_model(&format!("calls-{family}"), markers, &letters);
    let mut all: Vec<_> = ids.into_iter().collect();
    all.sort_by_key(|(_, id)| *id);
    let id_of = |text: &str| all.iter().find(|(piece, _)| piece == text).map(|(_, id)| *id).unwrap();
    let phrases = PHRASES[family];
    let spelled = |number: &usize| match number.checked_sub(NUM_PIECES) {
        Some(phrase) => phrases[phrase % phrases.len()].iter().map(|text| id_of(text)).collect(),
        None => vec![all[number % all.len()].1],
    };
    let tokens_of = |choice: &Vec<usize>| choice.iter().flat_map(spelled).collect();
    let scripts: Vec<_> = choices.iter().map(tokens_of).collect();
    let config = EngineConfig { max_steps_in_flight, ..engine_config() };
    Stage::with_parsers(&text, config, Detected { tools: Some(tools), reasoning }, &scripts)
}

/// Returns what a whole answer says, as a stream's reader puts it.
fn told_whole(body: &Value) -> Vec<Value> {
    let told = |choice: &Value| {
        let message = &choice["message"];
        json!({
            "text": message["content"].as_str().unwrap_or_default(),
            "reasoning": message["reasoning"],
            "tool_calls": message["tool_calls"],
            "token_ids": choice["token_ids"],
            // A list also where there is nothing to tell.
            "logprobs": Some(&choice["logprobs"]["content"]).filter(|list| **list != json!([])),
            "finish_reason": choice["finish_reason"],
            "stop_reason": choice["stop_reason"],
        })
    };
    body["choices"].as_array().unwrap().iter().map(told).collect()
}

fn told_streamed(read: &Value) -> Vec<Value> {
    let told = |choice: &Value| {
        let told = &choice[1];
        json!({
            "text": told["text"].as_str().unwrap_or_default(),
            "reasoning": told["reasoning"],
            "tool_calls": told["tool_calls"],
            "token_ids": told["token_ids"],
            "logprobs": told["logprobs.content"],
            "finish_reason": told["finish_reason"],
            "stop_reason": told["stop_reason"],
        })
    };
    read["choices"].as_array().unwrap().iter().map(told).collect()
}

fn fields() -> impl Strategy<Value = Value> {
    let stops = prop::collection::vec(
        prop_oneof![Just("END"), Just("}}"), Just("</tool_call>"), Just("[ARGS]")],
        0..2,
    );
    (stops, prop::array::uniform4(any::<bool>()), 1_u32..3, 1_u32..60).prop_map(
        |(stop, switches, n, max_tokens)| {
            let [ids, continuous, includes_stop, logprobs] = switches;
            let mut fields = json!({
                "model": "toy", "stream": true, "stop": stop, "n": n, "max_tokens": max_tokens,
                "messages": [{ "role": "user", "content": "hi" }],
                "tools": [{ "function": { "name": "f" } }],
                "return_token_ids": ids, "include_stop_str_in_output": includes_stop, "logprobs": logprobs,
                "stream_options": { "include_usage": true, "continuous_usage_stats": continuous },
            });
            if logprobs {
                fields["top_logprobs"] = json!(1);
            }
            fields
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { rng_seed: RngSeed::Fixed(1), failure_persistence: None, cases: 200, ..Default::default() })]

    /// An agent must get the same calls, text, thoughts and tokens whether it streams or not, and
    /// however fast the engine is.
    #[test]
    fn every_way_of_asking_tells_one_story(
        family in 0_usize..FAMILIES.len(),
        choices in prop::collection::vec(prop::collection::vec(0..2 * NUM_PIECES, 0..12), 1..3),
        fields in fields(),
        cuts in prop::collection::vec(1_usize..5, 1..6),
        max_steps_in_flight in 1_usize..3,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let _context = runtime.enter();
        let mut told = Vec::new();
        for cuts in [&[1][..], &cuts, &[100]] {
            let transcript = stage(family, &choices, max_steps_in_flight).play_cut(post(CHAT, fields.clone()), cuts);
            let read = read(&transcript, Asked::of(CHAT, &fields));
            told.push(read.map_err(|broken| TestCaseError::fail(format!("{broken}\n{}", transcript.golden())))?);
        }
        prop_assert_eq!(&told[0], &told[1]);
        prop_assert_eq!(&told[0], &told[2]);
        let mut whole = fields;
        whole["stream"] = json!(false);
        whole.as_object_mut().unwrap().shift_remove("stream_options");
        let transcript = stage(family, &choices, 1).play_routed(post(CHAT, whole), &[1]);
        let body: Value = serde_json::from_str(&transcript.body()).unwrap();
        prop_assert_eq!(told_whole(&body), told_streamed(&told[0]));
        prop_assert_eq!(&body["usage"]["completion_tokens_details"], &told[0]["usage"]["completion_tokens_details"]);
        prop_assert_eq!(&body["usage"]["completion_tokens"], &told[0]["usage"]["completion_tokens"]);
    }
}

/// Readers with lines of 64 KiB lose the connection over an event that is longer, whatever is in
/// it.
#[tokio::test(start_paused = true)]
async fn long_thoughts_and_arguments_come_in_short_events() {
    let (begin, end) = ("{\"name\":\"f\",\"arguments\":{\"x\":\"", "\"}}");
    let scores = json!({ "return_token_ids": true, "logprobs": true, "top_logprobs": 2 });
    // Tokens of many letters, and many tokens at once.
    for (num_letters, num_tokens, details) in [(24 << 10, 2, json!({})), (8, 1000, scores)] {
        let (thought, argument) = ("\u{1}\u{2}".repeat(num_letters / 2), "\\\"".repeat(num_letters / 2));
        let (text, ids) =
            marked_model(&format!("long-{num_tokens}"), HERMES, &[begin, end, &thought, &argument]);
        let repeated = |piece: &str| vec![ids[piece]; num_tokens];
        let one = |piece: &str| vec![ids[piece]];
        let script = [
            [one("<think>"), repeated(&thought), one("</think>"), one("<tool_call>"), one(begin)].concat(),
            [repeated(&argument), one(end), one("</tool_call>"), vec![END_TOKEN]].concat(),
        ];
        let parsers = Detected { tools: Some(ToolFormat::Hermes), reasoning: Some(ReasoningFormat::Qwen3) };
        let config = EngineConfig { max_model_len: 4096, num_blocks: 2048, ..engine_config() };
        let mut fields = details;
        fields["stream"] = json!(true);
        fields["messages"] = json!([{ "role": "user", "content": "hi" }]);
        fields["tools"] = json!([{ "function": { "name": "f" } }]);
        for cuts in [&[1], &[4096]] {
            let mut stage = Stage::with_parsers(&text, config.clone(), parsers, &[script.concat()]);
            let transcript = stage.play_cut(post(CHAT, fields.clone()), cuts);
            let told = &read(&transcript, Asked::of(CHAT, &fields)).unwrap()["choices"][0][1];
            assert_eq!(told["reasoning"], thought.repeat(num_tokens));
            let arguments = told["tool_calls"][0]["function"]["arguments"].as_str().unwrap();
            assert_eq!(arguments, format!("{{\"x\":\"{}\"}}", argument.repeat(num_tokens)));
            assert_eq!(told["finish_reason"], "tool_calls");
        }
    }
}

/// A client that forbids calls, or does not want to see thoughts, would get them all the same.
#[tokio::test(start_paused = true)]
async fn a_request_says_what_of_an_answer_is_told() {
    const CALL: &str = "<tool_call>{\"name\":\"f\",\"arguments\":{}}</tool_call>";
    let script = tokens_of(format!("<think>Hm</think>Hi{CALL}<end>").as_bytes());
    let parsers = Detected { tools: Some(ToolFormat::Hermes), reasoning: Some(ReasoningFormat::Qwen3) };
    let with_call = format!("Hi{CALL}");
    for (more, content, reasoning, num_calls) in [
        (json!({ "tools": [{ "function": { "name": "f" } }] }), "Hi", json!("Hm"), 1),
        (
            json!({ "tools": [{ "function": { "name": "f" } }], "include_reasoning": false }),
            "Hi",
            Value::Null,
            1,
        ),
        (
            json!({ "tools": [{ "function": { "name": "f" } }], "tool_choice": "none" }),
            &*with_call,
            json!("Hm"),
            0,
        ),
        (json!({ "tools": [], "include_reasoning": false }), &*with_call, Value::Null, 0),
    ] {
        let config = EngineConfig { max_model_len: 256, ..engine_config() };
        let mut body = json!({ "messages": [{ "role": "user", "content": "hi" }] });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let transcript = Stage::with_parsers(&text_model(), config, parsers, std::slice::from_ref(&script))
            .play(post(CHAT, body), 1);
        let answer: Value = serde_json::from_str(&transcript.body()).unwrap();
        let choice = &answer["choices"][0];
        let message = &choice["message"];
        assert_eq!((&message["content"], &message["reasoning"]), (&json!(content), &reasoning), "{more}");
        assert_eq!(message["tool_calls"].as_array().map_or(0, Vec::len), num_calls, "{more}");
        let finish = if num_calls == 0 { "stop" } else { "tool_calls" };
        assert_eq!(choice["finish_reason"], finish, "{more}");
    }
}

/// gpt-oss ends its turn with the token that ends a call: it is no part of the text, and the call
/// is lost if nothing reads it.
#[tokio::test(start_paused = true)]
async fn a_token_that_ends_the_answer_ends_its_call() {
    let (tools, reasoning, markers, pieces) = FAMILIES[3];
    let (text, ids) = marked_model("ends", markers, pieces);
    let script = ["<|channel|>", "commentary", " to=functions.f", "<|message|>", "<|call|>", "E"];
    let script: Vec<_> = script.iter().map(|piece| ids[*piece]).collect();
    for includes_stop in [false, true] {
        let fields = json!({
            "stream": true, "stop_token_ids": [ids["<|call|>"]], "include_stop_str_in_output": includes_stop,
            "return_token_ids": true, "messages": [{ "role": "user", "content": "hi" }],
            "tools": [{ "function": { "name": "f" } }],
        });
        let parsers = Detected { tools: Some(tools), reasoning };
        let mut stage = Stage::with_parsers(&text, engine_config(), parsers, std::slice::from_ref(&script));
        let transcript = stage.play_cut(post(CHAT, fields.clone()), &[1]);
        let told = &read(&transcript, Asked::of(CHAT, &fields)).unwrap()["choices"][0][1];
        assert_eq!(told["tool_calls"][0]["function"], json!({ "name": "f", "arguments": "{}" }));
        assert_eq!(told["finish_reason"], "tool_calls");
        assert_eq!(told["text"], "");
        assert_eq!(told["token_ids"], json!(script[..5]));
    }
}
