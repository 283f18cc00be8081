//! Scripts that cannot be played.

use serde_json::{Value, json};
use streamcore_server::Script;
use streamcore_server::script::{ParserNames, ScriptError};

use crate::common::model::text_model;

fn refused(script: &Value) -> String {
    let script = script.to_string();
    let Err(error @ ScriptError { .. }) = Script::load(&script, &mut text_model(), ParserNames::default())
    else {
        panic!("{script} was taken")
    };
    error.to_string()
}

/// A script with a mistake in it that is played all the same tests something else than its author
/// thinks.
#[test]
fn a_mistake_in_a_script_is_named_with_its_place() {
    let answer = |answer: Value| json!({ "rules": [{ "answer": answer }] });
    let with_parsers = |tools: &str, reasoning: &str, answer: Value| json!({ "tool_call_parser": tools, "reasoning_parser": reasoning, "rules": [{ "answer": answer }] });
    let error = |status: u16| json!({ "status": status, "code": "c", "message": "m" });
    let messages: Vec<_> = [
        json!([[], [{ "answer": { "text": "a" } }]]),
        json!({}),
        json!({ "rules": [] }),
        json!({ "rules": { "answer": { "text": "a" } } }),
        json!({ "rules": [[{}, { "text": "a" }]] }),
        json!({ "rules": [{ "when": ["a"], "answer": { "text": "a" } }] }),
        json!({ "models": ["a", "b", "a"], "rules": [{ "answer": { "text": "a" } }] }),
        json!({ "rules": [{ "answer": { "txt": "a" } }] }),
        json!({ "models": [""], "rules": [{ "answer": { "text": "a" } }] }),
        json!({ "rules": [{}] }),
        json!({ "rules": [{ "answers": [] }] }),
        json!({ "rules": [{ "answer": { "text": "a" } }, { "answer": { "text": "b" } }] }),
        json!({ "rules": [{ "when": { "regex": "(" }, "answer": { "text": "a" } }] }),
        answer(json!({})),
        answer(json!({ "text": 5 })),
        answer(json!({ "text": "a", "pieces": ["a"] })),
        answer(json!({ "text": "a<end>b" })),
        answer(json!({ "pieces": ["a", ""] })),
        answer(json!({ "pieces": ["a", 256] })),
        answer(json!({ "text": "", "finish_reason": "length" })),
        answer(json!({ "text": "a", "finish_reason": "tool_calls" })),
        answer(json!({ "text": "a", "token_delay_ms": 86_400_001_u64 })),
        answer(json!({ "text": "a", "token_delay_ms": -5 })),
        answer(json!({ "text": "a", "fault": ["cut"] })),
        answer(json!({ "text": "a", "fault": { "kind": "cut", "after_tokens": 0.5 } })),
        answer(json!({ "text": "a", "fault": { "kind": "cut", "after_tokens": 2 } })),
        answer(json!({ "text": "a", "fault": { "kind": "cut", "message": "m" } })),
        answer(json!({ "text": "a", "fault": { "kind": "cut" }, "finish_reason": "stop" })),
        answer(json!({ "text": "a", "error": error(500) })),
        answer(json!({ "error": error(200) })),
        json!({ "rules": [{ "when": { "tool": "now" }, "answer": { "text": "a" } }] }),
        json!({ "rules": [{ "when": { "tool": { "id": "a" } }, "answer": { "text": "a" } }] }),
        json!({ "rules": [{ "when": { "tool": { "regex": "[" } }, "answer": { "text": "a" } }] }),
        with_parsers("hermes2", "auto", json!({ "text": "a" })),
        with_parsers("auto", "qwen", json!({ "text": "a" })),
        with_parsers("none", "auto", json!({ "tool_calls": [{ "name": "f" }] })),
        with_parsers("auto", "none", json!({ "reasoning": "a" })),
        with_parsers("pythonic", "auto", json!({ "text": "a", "tool_calls": [{ "name": "f" }] })),
        answer(json!({ "tool_calls": [] })),
        answer(json!({ "tool_calls": { "name": "f" } })),
        answer(json!({ "tool_calls": ["f"] })),
        answer(json!({ "tool_calls": [{ "name": "f", "arguments": "{}" }] })),
        answer(json!({ "tool_calls": [{ "function": { "name": "f" } }] })),
        answer(json!({ "tool_calls": [{ "arguments": {} }] })),
        with_parsers("qwen3_xml", "auto", json!({ "tool_calls": [{ "name": "two words" }] })),
        answer(json!({ "text": "a <tool_call>{\"name\": \"g\"}", "tool_calls": [{ "name": "f" }] })),
        answer(json!({ "reasoning": "a </think> b", "text": "c" })),
        answer(json!({ "reasoning": "a", "pieces": ["b"] })),
        answer(json!({ "pieces": ["b"], "tool_calls": [{ "name": "f" }] })),
        answer(json!({ "tool_calls": [{ "name": "f" }], "error": error(500) })),
    ]
    .iter()
    .map(refused)
    .collect();
    insta::assert_snapshot!(messages.join("\n"));
}
