//! Responses: what a chat says, in the other dialect.
#![allow(
    clippy::needless_pass_by_value,
    reason = "a table of them reads better without a sign before every body"
)]

use serde_json::{Value, json};

use crate::case::{Ask, Before, Case, RESPONSES, case, extended, post};
use crate::tools::{HERMES, QWEN3};

/// Returns a response to one message, and these fields. It is not kept, so that its id is the
/// request's name.
fn response(extra: Value) -> Ask {
    let body = json!({ "model": "toy", "input": "hi", "store": false });
    post(RESPONSES, extended(body, &extra))
}

fn streamed(mut extra: Value) -> Ask {
    extra["stream"] = json!(true);
    response(extra)
}

const TOKENS: &str = "/v1/responses/input_tokens";
const F: &str = r#"{ "type": "function", "name": "f", "parameters": { "type": "object" } }"#;

/// Returns a response that may call `f`.
fn with_tool(stream: bool, mut extra: Value) -> Ask {
    let tool: Value = serde_json::from_str(F).unwrap();
    extra["tools"] = json!([tool]);
    extra["stream"] = json!(stream);
    response(extra)
}

const CALL: &str = r#"<tool_call>{"name":"f","arguments":{"x":1}}</tool_call>"#;
const THOUGHT: &str = r#"<think>Hm, né.</think>
<tool_call>{"name":"f","arguments":{}}</tool_call>"#;

pub(crate) fn responses() -> Vec<Case> {
    [of_text(), of_families()].concat()
}

fn of_text() -> Vec<Case> {
    vec![
        case("a response", streamed(json!({})), "Hi!"),
        case("a whole response", response(json!({})), "Hi!"),
        case("a response that says nothing", streamed(json!({})), ""),
        case("a whole response that says nothing", response(json!({})), ""),
        case("a response to its limit", streamed(json!({ "max_output_tokens": 2 })), "Hi!"),
        case("a whole response to its limit", response(json!({ "max_output_tokens": 2 })), "Hi!"),
        case(
            "a response to the end of a prompt",
            streamed(json!({ "input": "x".repeat(200), "truncation": "auto", "max_output_tokens": 3 })),
            "Hi!",
        ),
        case(
            "a response that tells its request",
            response(json!({
                "instructions": "Be short.", "metadata": { "a": "b" }, "temperature": 0.25, "top_p": 0.5,
                "reasoning": { "effort": "low" }, "user": "u", "truncation": "auto", "nobody": 1,
                "tools": [{ "type": "function", "name": "f" }, { "type": "web_search" }],
                "tool_choice": "none", "parallel_tool_calls": false, "text": { "verbosity": "medium" },
            })),
            "ok",
        ),
        case(
            "a response with logprobs",
            streamed(json!({ "include": ["message.output_text.logprobs"], "top_logprobs": 1 })),
            "é.",
        ),
        case(
            "a whole response with logprobs",
            response(json!({ "include": ["message.output_text.logprobs"] })),
            "é.",
        ),
        case("a stop in a response", streamed(json!({ "stop": "##" })), "a#b##c"),
        case("a response that fails at once", streamed(json!({})), "abc").fails_after(0),
        case("a response that fails", streamed(json!({})), "abc").fails_after(2),
        case("a whole response that fails", response(json!({})), "abc").fails_after(2),
    ]
}

/// Models that call and think.
fn of_families() -> Vec<Case> {
    let family = |family, case: Case| Case { family: Some(family), ..case };
    vec![
        family(&HERMES, case("a response that calls", with_tool(true, json!({})), CALL)),
        family(&HERMES, case("a whole response that calls", with_tool(false, json!({})), CALL)),
        family(
            &HERMES,
            case(
                "a response with text around calls",
                with_tool(true, json!({})),
                "a<tool_call>{\"name\":\"f\",\"arguments\":{}}</tool_call>b<tool_call>{\"name\":\"f\",\"arguments\":{\"y\":2}}</tool_call>",
            ),
        ),
        family(
            &HERMES,
            case("a call that is cut off", with_tool(true, json!({ "max_output_tokens": 12 })), CALL),
        ),
        family(&QWEN3, case("a response with a thought", with_tool(true, json!({})), THOUGHT)),
        family(&QWEN3, case("a whole response with a thought", with_tool(false, json!({})), THOUGHT)),
        family(
            &QWEN3,
            case(
                "a response with a summary",
                with_tool(
                    true,
                    json!({ "reasoning": { "summary": "auto" }, "include": ["reasoning.encrypted_content"] }),
                ),
                "<think>Hm.</think>So.",
            ),
        ),
        family(
            &QWEN3,
            case(
                "a thought that is cut off",
                with_tool(true, json!({ "max_output_tokens": 3 })),
                "<think>Hm, well, so.</think>So.",
            ),
        ),
        family(
            &HERMES,
            case("a response that fails in a call", with_tool(true, json!({})), CALL).fails_after(9),
        ),
    ]
}

/// Returns refusals, which must name the client's own fields.
pub(crate) fn refusals() -> Vec<Case> {
    [refused_items(), more_refusals()].concat()
}

fn refused_items() -> Vec<Case> {
    let message = |content: Value| json!({ "input": [{ "role": "user", "content": content }] });
    vec![
        case("no input", post(RESPONSES, json!({ "model": "toy" })), ""),
        case("an input of another type", response(json!({ "input": 7 })), ""),
        case("no items", response(json!({ "input": [] })), ""),
        case("an item that is none", response(json!({ "input": [7] })), ""),
        case("an unknown item", response(json!({ "input": [{ "type": "web_search_call" }] })), ""),
        case("an image", response(message(json!([{ "type": "input_image", "image_url": "x" }]))), ""),
        case("content of another type", response(message(json!({}))), ""),
        case("no content", response(message(Value::Null)), ""),
        case("another role", response(json!({ "input": [{ "role": "robot", "content": "a" }] })), ""),
        case(
            "arguments that are none",
            response(json!({ "input": [
                { "role": "user", "content": "a" },
                { "type": "function_call", "call_id": "c", "name": "f", "arguments": "{}" },
                { "type": "function_call", "call_id": "d", "name": "f", "arguments": "[" },
            ] })),
            "",
        ),
        case(
            "an output without its call",
            response(json!({ "input": [{ "type": "function_call_output", "output": "1" }] })),
            "",
        ),
        case(
            "a reference to nothing",
            response(json!({ "input": [{ "type": "item_reference", "id": "msg_1_0" }] })),
            "",
        ),
        case("a response that follows nothing", response(json!({ "previous_response_id": "resp_1" })), ""),
        case("the background without the store", response(json!({ "background": true })), ""),
        case("a field of chat", response(json!({ "max_tokens": 7 })), ""),
        case("messages", response(json!({ "messages": [] })), ""),
        case("a field of another server", response(json!({ "max_new_tokens": 7 })), ""),
        case("two answers", response(json!({ "n": 2 })), ""),
        case("a temperature too high", response(json!({ "temperature": 3 })), ""),
        case("no tokens", response(json!({ "max_output_tokens": 0 })), ""),
        case("too many tokens", response(json!({ "max_output_tokens": 5000 })), ""),
    ]
}

/// Returns the same of tools, formats, and what has happened before.
fn more_refusals() -> Vec<Case> {
    vec![
        case("a tool of the server", response(json!({ "tools": [{ "type": "file_search" }] })), ""),
        case("a tool without a name", response(json!({ "tools": [{ "type": "function" }] })), ""),
        case(
            "a choice of a tool that is left out",
            response(json!({ "tools": [{ "type": "web_search" }], "tool_choice": { "type": "web_search" } })),
            "",
        ),
        case(
            "a choice of a function that is not there",
            response(
                json!({ "tools": [{ "type": "function", "name": "f" }], "tool_choice": { "type": "function", "name": "g" } }),
            ),
            "",
        ),
        case(
            "a format without its schema",
            response(json!({ "text": { "format": { "type": "json_schema", "name": "a" } } })),
            "",
        ),
        case(
            "a schema that cannot be enforced",
            response(
                json!({ "text": { "format": { "type": "json_schema", "name": "a", "schema": { "not": {} } } } }),
            ),
            "",
        ),
        case("little to say", response(json!({ "text": { "verbosity": "low" } })), ""),
        case("an unknown thing to include", response(json!({ "include": ["the sun"] })), ""),
        case("likely tokens without logprobs", response(json!({ "top_logprobs": 2 })), ""),
        case("too many texts", response(json!({ "metadata": { "a": 7 } })), ""),
        case("a conversation", response(json!({ "conversation": "conv_1" })), ""),
        case("another truncation", response(json!({ "truncation": "some" })), ""),
        case("a full queue", response(json!({})), "").after(Before::FullQueue),
        case("a server that goes", streamed(json!({})), "").after(Before::Drain),
        case("a runner that has died", response(json!({})), "").after(Before::Failure),
        case("no key", response(json!({})), "").after(Before::Keys),
        case("a response that is not there", crate::case::get("/v1/responses/resp_1"), ""),
        case("another method", crate::case::get(RESPONSES), ""),
        case("tokens of a response", post(TOKENS, json!({ "instructions": "I", "input": "hi" })), ""),
        case("tokens of nothing", post(TOKENS, json!({ "model": "toy" })), ""),
        case("tokens of no model", post(TOKENS, json!({ "model": "no", "input": "hi" })), ""),
        case("a conversation to make shorter", post("/v1/responses/compact", json!({ "input": "hi" })), ""),
    ]
}
