//! Odd bodies.

use serde_json::json;
use streamcore_parsers::{Detected, ToolFormat};

use crate::common::Dice;
use crate::common::model::text_model;
use crate::{CHAT, COMPLETIONS, Live, chat};

/// What programs and attackers put into these fields is answered or refused: never a 5xx, never a
/// hang.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_grammar_is_answered_or_refused() {
    let live = Live::new(&text_model(), Detected { tools: Some(ToolFormat::Hermes), reasoning: None }, 8, 2);
    let values = [
        json!(null),
        json!(true),
        json!(0),
        json!(""),
        json!("a|b"),
        json!("("),
        json!("a{1000}"),
        json!([]),
        json!(["a", ""]),
        json!([["a"]]),
        json!({}),
        json!({ "type": "object" }),
        json!({ "type": "text" }),
        json!({ "type": "json_object" }),
        json!({ "type": "json_schema", "json_schema": { "schema": {} } }),
        json!({ "$ref": "#" }),
        json!({ "anyOf": [] }),
        json!({ "type": "json_schema", "json_schema": { "schema": { "$ref": "#/a" } } }),
        json!("start: \"a\""),
        json!({ "type": ["string", "null"], "enum": [null, "\u{0}", "é"] }),
        json!({ "regex": "[^a]{3}" }),
        json!({ "choice": ["", "b"] }),
        json!({ "json": "{\"type\": \"number\"}" }),
        json!({ "json": { "minimum": 1e300 } }),
        json!({ "json_object": true, "regex": "a" }),
        json!({ "structural_tag": { "structures": [], "triggers": [] } }),
        json!({ "grammar": "start: start" }),
        json!("required"),
        json!({ "type": "function", "function": { "name": "f" } }),
        json!([{ "function": { "name": "f", "strict": true } }]),
        json!([{ "function": { "name": "f", "parameters": { "type": "string" } } }]),
        json!(false),
        json!([{ "function": { "name": "f", "strict": true, "parameters": { "properties": { "\"": {}, "é\n": { "const": 1 } } } } }]),
    ];
    let fields = [
        "response_format",
        "structured_outputs",
        "guided_json",
        "guided_regex",
        "guided_choice",
        "guided_grammar",
        "guided_json_object",
        "tools",
        "functions",
        "tool_choice",
        "function_call",
        "parallel_tool_calls",
    ];
    let (mut dice, mut num_answered, mut num_refused) = (Dice(5), 0, 0);
    for nth in 0..1200 {
        let mut body = chat(json!({ "max_tokens": 40 }));
        for _ in 0..=dice.below(3) {
            body[fields[dice.below(fields.len())]] = values[dice.below(values.len())].clone();
        }
        let path = if nth % 4 == 0 { COMPLETIONS } else { CHAT };
        if path == COMPLETIONS {
            body.as_object_mut().unwrap().remove("messages");
            body["prompt"] = json!("hi");
        }
        match live.ask(path, body.clone()).await {
            (200, answer) if answer["choices"].is_array() => num_answered += 1,
            (400, answer) if answer["error"]["message"].is_string() => num_refused += 1,
            other => panic!("{body}: {other:?}"),
        }
    }
    assert!(num_answered > 40 && num_refused > 40, "{num_answered} answered, {num_refused} refused");
}
