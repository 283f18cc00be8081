//! Requests, and the model's answers.
#![allow(
    clippy::needless_pass_by_value,
    reason = "a table of them reads better without a sign before every body"
)]

use serde_json::{Value, json};
use streamcore_parsers::{ReasoningFormat, ToolFormat};

use crate::case::{Ask, Before, Case, case, get, post};
use crate::family::Family;

pub(crate) const MESSAGES: &str = "/v1/messages";
pub(crate) const COUNT: &str = "/v1/messages/count_tokens";

const HERMES: Family = Family {
    name: "hermes",
    tools: Some(ToolFormat::Hermes),
    reasoning: None,
    markers: &[("<tool_call>", false), ("</tool_call>", false)],
};
const QWEN3: Family = Family {
    name: "qwen3",
    reasoning: Some(ReasoningFormat::Qwen3),
    markers: &[("<tool_call>", false), ("</tool_call>", false), ("<think>", false), ("</think>", false)],
    ..HERMES
};
const MISTRAL: Family = Family {
    name: "mistral",
    tools: Some(ToolFormat::Mistral),
    reasoning: None,
    markers: &[("[TOOL_CALLS]", true), ("[ARGS]", true), ("[CALL_ID]", true)],
};

const CALL: &str = r#"<tool_call>{"name":"f","arguments":{"x":1}}</tool_call>"#;
const THOUGHT: &str = "<think>Hm, né.</think>\nSo.<tool_call>{\"name\":\"f\",\"arguments\":{}}</tool_call>";

/// Returns a message of few words, and these fields.
pub(crate) fn ask(extra: Value) -> Ask {
    let mut body = json!({
        "model": "toy", "max_tokens": 60, "messages": [{ "role": "user", "content": "hi" }],
    });
    body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    post(MESSAGES, body)
}

fn streamed(mut extra: Value) -> Ask {
    extra["stream"] = json!(true);
    ask(extra)
}

fn of(family: &'static Family, case: Case) -> Case {
    let mut body = case.json().unwrap();
    if family.tools.is_some() && body.get("tools").is_none() {
        body["tools"] = json!([{ "name": "f", "input_schema": { "type": "object" } }, { "name": "g" }]);
    }
    let ask = Ask { body: body.to_string(), ..case.ask };
    Case { family: Some(family), ask, ..case }
}

/// Each way of asking is written as a stream and as a whole answer, which must be the same.
pub(crate) fn answers() -> Vec<Case> {
    let stops = json!({ "stop_sequences": ["END", "!!"] });
    vec![
        case("text", streamed(json!({})), "Hello, né 🦀"),
        case("nothing", streamed(json!({})), ""),
        case("a limit", streamed(json!({ "max_tokens": 3 })), "Hello"),
        case("a limit inside a character", streamed(json!({ "max_tokens": 3 })), "a🦀"),
        case("more than there is room for", streamed(json!({ "max_tokens": 32_000 })), "Hi!"),
        case("a stop sequence", streamed(stops.clone()), "Hi EN END of it"),
        case("a stop sequence that is none in the end", streamed(stops.clone()), "Hi EN"),
        case("a stop sequence at the beginning", streamed(stops), "END"),
        case("a stop token", streamed(json!({ "stop_token_ids": [33] })), "Hi! you"),
        case(
            "a system and turns",
            streamed(json!({
                "system": [{ "type": "text", "text": "Be", "cache_control": { "type": "ephemeral" } }],
                "messages": [
                    { "role": "user", "content": "a" },
                    { "role": "assistant", "content": [{ "type": "text", "text": "b" }] },
                    { "role": "user", "content": [{ "type": "text", "text": "c" }, { "type": "text", "text": "d" }] },
                ],
            })),
            "ok",
        ),
        case(
            "an answer that has been begun",
            streamed(json!({
                "messages": [{ "role": "user", "content": "a" }, { "role": "assistant", "content": "It is" }],
            })),
            " so",
        ),
        case(
            "what is ignored",
            streamed(json!({
                "metadata": { "user_id": "u" }, "service_tier": "auto", "betas": ["x"],
                "context_management": { "edits": [] }, "something_new": 1,
            }))
            .with("anthropic-version", "2023-06-01")
            .with("anthropic-beta", "a-2025-01-01,b-2026-01-01"),
            "ok",
        ),
    ]
}

pub(crate) fn calls() -> Vec<Case> {
    let two = "Let me see.\n<tool_call>{\"name\":\"f\",\"arguments\":{\"x\":\"é\"}}</tool_call>\n<tool_call>{\"name\":\"g\",\"arguments\":{}}</tool_call>";
    vec![
        of(&HERMES, case("a call", streamed(json!({})), CALL)),
        of(&HERMES, case("text and two calls", streamed(json!({})), two)),
        of(&HERMES, case("text that ends an answer", streamed(json!({})), "No call <b>")),
        of(
            &HERMES,
            case(
                "arguments that are none",
                streamed(json!({})),
                "<tool_call>{\"name\":\"f\",\"arguments\":{\"x\":a}}</tool_call> b",
            ),
        ),
        of(&HERMES, case("a call that the limit cuts off", streamed(json!({ "max_tokens": 8 })), CALL)),
        of(
            &HERMES,
            case(
                "a stop sequence behind a call",
                streamed(json!({ "stop_sequences": ["END"] })),
                r#"<tool_call>{"name":"f","arguments":{}}</tool_call>END never"#,
            ),
        ),
        of(
            &HERMES,
            case("calls that are not wanted", streamed(json!({ "tool_choice": { "type": "none" } })), CALL),
        ),
        of(&QWEN3, case("a thought, text and a call", streamed(json!({})), THOUGHT)),
        of(&QWEN3, case("a thought and text", streamed(json!({})), "<think>Hm.</think>\n\nHello")),
        of(&QWEN3, case("a thought that the limit cuts off", streamed(json!({ "max_tokens": 3 })), THOUGHT)),
        of(
            &QWEN3,
            case(
                "a thought that is not shown",
                streamed(json!({ "thinking": { "type": "adaptive", "display": "omitted" } })),
                THOUGHT,
            ),
        ),
        of(
            &MISTRAL,
            case(
                "ids of both kinds",
                streamed(json!({})),
                "Well.[TOOL_CALLS]f[ARGS]{}[TOOL_CALLS]g[CALL_ID]abcdef123[ARGS]{\"y\": 2}",
            ),
        ),
        of(
            &HERMES,
            case(
                "results of calls",
                streamed(json!({ "messages": [
                    { "role": "user", "content": "a" },
                    { "role": "assistant", "content": [
                        { "type": "thinking", "thinking": "t", "signature": "s" },
                        { "type": "tool_use", "id": "1", "name": "f", "input": { "x": 1 } },
                    ] },
                    { "role": "user", "content": [
                        { "type": "tool_result", "tool_use_id": "1", "content": "5", "is_error": false },
                        { "type": "text", "text": "go on" },
                    ] },
                ] })),
                "ok",
            ),
        ),
    ]
}

pub(crate) fn failures() -> Vec<Case> {
    vec![
        case("before the first token", streamed(json!({})), "Hi!").fails_after(0),
        case("after two tokens", streamed(json!({})), "Hi!").fails_after(2),
        case("with text held back", streamed(json!({ "stop_sequences": ["i!!"] })), "Hi!").fails_after(3),
        case("after the end", streamed(json!({})), "Hi!").fails_after(4),
        of(&HERMES, case("within a call", streamed(json!({})), CALL)).fails_after(9),
        of(&QWEN3, case("within a thought", streamed(json!({})), THOUGHT)).fails_after(3),
        case("in a whole answer", ask(json!({})), "Hi!").fails_after(2),
    ]
}

/// Returns what has no answer, and the other routes.
pub(crate) fn refusals() -> Vec<Case> {
    let image = json!([{ "role": "user", "content": [{ "type": "image", "source": { "type": "base64" } }] }]);
    let versioned = |path| get(path).with("anthropic-version", "2023-06-01");
    vec![
        case("JSON that breaks off", post(MESSAGES, "{\"model\": "), ""),
        case("an image", ask(json!({ "messages": image })), ""),
        case("no such model", ask(json!({ "model": "claude-9" })), ""),
        case("a prompt that is too long", ask(json!({ "system": "x".repeat(200) })), ""),
        case("a body that is too long", ask(json!({})).with("content-length", "16777217"), ""),
        case("no key", ask(json!({})), "").after(Before::Keys),
        case("a key", versioned("/v1/models").with("x-api-key", "second"), "").after(Before::Keys),
        case("a full queue", streamed(json!({})), "").after(Before::FullQueue),
        case("a server that goes", streamed(json!({})), "").after(Before::Drain),
        case("a runner that has died", ask(json!({})), "").after(Before::Failure),
        case("a method that is not allowed", get(MESSAGES), ""),
        case("a route that is none", post("/v1/messages/batches", json!({})), ""),
        case("a model that is none", versioned("/v1/models/no"), ""),
        case("models", versioned("/v1/models"), ""),
        case("a model", versioned("/v1/models/org/toy"), ""),
        case("models of the other dialect", get("/v1/models"), ""),
        case("tokens", post(COUNT, json!({ "messages": [{ "role": "user", "content": "hi" }] })), ""),
        case("tokens of nothing", post(COUNT, json!({ "model": "toy" })), ""),
        case(
            "tokens of no model",
            post(COUNT, json!({ "model": "no", "messages": [{ "role": "user", "content": "hi" }] })),
            "",
        ),
    ]
}
