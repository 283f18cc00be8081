//! Constraints on answers in Anthropic's dialect.

use serde_json::{Value, json};
use streamcore_parsers::{Detected, ToolFormat};

use crate::{Live, is_of_schema, marked, schema};

const MESSAGES: &str = "/v1/messages";

fn body(extra: &Value) -> Value {
    let mut body = json!({
        "model": "toy", "max_tokens": 32_000, "messages": [{ "role": "user", "content": "hi" }],
    });
    body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    body
}

fn tools() -> Value {
    let days = json!({
        "type": "object", "properties": { "days": { "type": "integer", "minimum": 1, "maximum": 9 } },
        "required": ["days"], "additionalProperties": false,
    });
    json!([{ "name": "weather", "strict": true, "input_schema": days }, { "name": "now", "strict": true, "input_schema": {
        "type": "object", "properties": {}, "additionalProperties": false,
    } }])
}

/// An agent that must get a call would get prose, or several calls where it wants one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_is_forced_in_the_words_of_this_dialect() {
    let live = Live::new(&marked(), Detected { tools: Some(ToolFormat::Hermes), reasoning: None }, 5, 2);
    for (choice, only, is_one) in [
        (json!({ "type": "any" }), None, false),
        (json!({ "type": "any", "disable_parallel_tool_use": true }), None, true),
        (json!({ "type": "tool", "name": "weather" }), Some("weather"), false),
    ] {
        for _ in 0..4 {
            let asked = body(&json!({ "tools": tools(), "tool_choice": choice }));
            let (status, answer) = live.ask(MESSAGES, asked).await;
            assert_eq!((status, &answer["stop_reason"]), (200, &json!("tool_use")), "{answer}");
            let blocks = answer["content"].as_array().unwrap();
            assert!(!blocks.is_empty() && (!is_one || blocks.len() == 1), "{answer}");
            for block in blocks {
                assert_eq!(block["type"], "tool_use", "{answer}");
                assert!(only.is_none_or(|only| block["name"] == only), "{answer}");
                let is_right = match block["name"].as_str().unwrap() {
                    "weather" => (1..=9).contains(&block["input"]["days"].as_i64().unwrap()),
                    _ => block["input"] == json!({}),
                };
                assert!(is_right, "{answer}");
            }
        }
    }
}

/// A program that reads its answer as JSON would find anything else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_format_holds_the_text() {
    let live = Live::new(&marked(), Detected { tools: None, reasoning: None }, 6, 1);
    let format = json!({ "type": "json_schema", "schema": schema() });
    for extra in [json!({ "output_config": { "format": format } }), json!({ "output_format": format })] {
        for _ in 0..4 {
            let (status, answer) = live.ask(MESSAGES, body(&extra)).await;
            assert_eq!(status, 200, "{answer}");
            assert!(is_of_schema(answer["content"][0]["text"].as_str().unwrap()), "{answer}");
        }
    }
}

/// A promise that cannot be kept is refused by the field that has it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schema_that_cannot_be_enforced_is_refused_by_its_field() {
    let live = Live::new(&marked(), Detected { tools: None, reasoning: None }, 7, 1);
    let format = json!({ "type": "json_schema", "schema": { "not": { "const": 1 } } });
    let (status, answer) = live.ask(MESSAGES, body(&json!({ "output_config": { "format": format } }))).await;
    assert_eq!((status, &answer["error"]["type"]), (400, &json!("invalid_request_error")), "{answer}");
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(message.contains("`output_config.format.schema`"), "{message}");
}
