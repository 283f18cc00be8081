//! Odd bodies.

use serde_json::{Value, json};
use streamcore_engine::EngineConfig;

use crate::common::model::VOCAB_SIZE;
use crate::common::{Dice, Stage, engine_config, get, limits, post};
use crate::kept::{PATH, ask};

const FIELDS: [&str; 24] = [
    "input",
    "input",
    "input",
    "instructions",
    "tools",
    "tool_choice",
    "text",
    "reasoning",
    "include",
    "metadata",
    "store",
    "background",
    "stream",
    "truncation",
    "previous_response_id",
    "top_logprobs",
    "parallel_tool_calls",
    "max_output_tokens",
    "temperature",
    "conversation",
    "prompt",
    "stop",
    "model",
    "n",
];

fn values() -> Vec<Value> {
    let item = |kind: &str| json!({ "type": kind, "id": "x", "call_id": "c", "name": "f", "arguments": "{}", "output": "o" });
    let kinds = [
        "message",
        "reasoning",
        "function_call",
        "function_call_output",
        "custom_tool_call",
        "custom_tool_call_output",
        "item_reference",
        "web_search_call",
        "",
    ];
    let mut values = vec![
        json!(null),
        json!(true),
        json!(false),
        json!(0),
        json!(-1),
        json!(1e300),
        json!(""),
        json!("auto"),
        json!("resp_1"),
        json!("é\u{0}"),
        json!([]),
        json!([[]]),
        json!([null]),
        json!([""]),
        json!({}),
        json!({ "type": "function" }),
        json!({ "type": "function", "name": "f" }),
        json!({ "type": "allowed_tools", "mode": "auto", "tools": [{ "type": "function", "name": "f" }] }),
        json!({ "type": "allowed_tools", "tools": 7 }),
        json!([{ "type": "function", "name": "f", "strict": true }]),
        json!([{ "type": "function", "name": "f", "parameters": { "type": "string" } }]),
        json!([{ "type": "web_search" }, { "type": 7 }]),
        json!({ "format": {} }),
        json!({ "format": { "type": "json_object" } }),
        json!({ "format": { "type": "json_schema", "name": "n", "schema": { "type": "integer" } } }),
        json!({ "format": { "type": "json_schema", "schema": { "$ref": "#/a" } } }),
        json!({ "format": { "type": "grammar" } }),
        json!({ "effort": "low", "summary": "auto" }),
        json!({ "effort": 7 }),
        json!({ "summary": "" }),
        json!(["message.output_text.logprobs", "reasoning.encrypted_content"]),
        json!({ "a": "b", "c": 7 }),
        json!([{ "role": "user" }]),
        json!([{ "role": "assistant", "content": [{ "type": "output_text", "text": "a" }] }]),
        json!([{ "role": "user", "content": [{ "type": "input_file" }] }]),
        json!([{ "role": "user", "content": [7] }]),
        json!([{ "type": "reasoning", "summary": 7 }]),
        json!([{ "type": "reasoning", "content": [{ "type": "reasoning_text" }] }]),
        json!([{ "type": "function_call", "call_id": "c", "name": "f", "arguments": "[" }]),
        json!([{ "type": "function_call_output", "call_id": "c", "output": {} }]),
    ];
    values.extend(kinds.map(|kind| json!([item(kind)])));
    values.push(kinds.map(item).to_vec().into());
    values
}

/// What programs and attackers send is answered or refused by the field that they sent: never a
/// 5xx, never a hang, and never a status 200 without a response.
#[tokio::test]
async fn any_body_is_answered_or_refused() {
    let config = EngineConfig { num_mask_words: VOCAB_SIZE.div_ceil(32), ..engine_config() };
    let mut stage = Stage::with_config("", config, limits());
    stage.runner.dice = Some(Dice(7));
    let (mut dice, values) = (Dice(3), values());
    let (mut num_answered, mut num_refused) = (0, 0);
    for _ in 0..1500 {
        let mut body = json!({ "model": "toy", "input": "hi", "max_output_tokens": 6 });
        for _ in 0..=dice.below(3) {
            body[FIELDS[dice.below(FIELDS.len())]] = values[dice.below(values.len())].clone();
        }
        let is_stream = body["stream"] == true;
        let (status, answer) = ask(&mut stage, post(PATH, body.clone())).await;
        match status {
            200 if is_stream => assert!(answer.contains("event: response.created"), "{body}: {answer}"),
            200 => {
                let response: Value = serde_json::from_str(&answer).unwrap();
                assert!(response["output"].is_array(), "{body}: {answer}");
            }
            400 | 404 => {
                let refused: Value = serde_json::from_str(&answer).unwrap();
                assert!(refused["error"]["message"].is_string(), "{body}: {answer}");
            }
            _ => panic!("{body}: {status} {answer}"),
        }
        num_answered += usize::from(status == 200);
        num_refused += usize::from(status != 200);
    }
    assert!(num_answered > 40 && num_refused > 100, "{num_answered} answered, {num_refused} refused");
}

/// Ids and queries come from anywhere as well.
#[tokio::test]
async fn any_path_is_answered_or_refused() {
    let mut stage = Stage::new("");
    let (_, response) = ask(&mut stage, post(PATH, json!({ "input": "hi" }))).await;
    let response: Value = serde_json::from_str(&response).unwrap();
    let id = response["id"].as_str().unwrap().to_owned();
    let ids = [id.as_str(), "x", "resp_", "%ff", "..", "resp_1%2F2", &"a".repeat(5000)];
    let queries = [
        "",
        "?",
        "?stream",
        "?stream=true&starting_after=18446744073709551615",
        "?starting_after=-1",
        "?limit=99999999999999999999",
        "?limit=&order=&after=",
        "?after=%00",
        "?a=b&&=",
        "?include[]=x",
    ];
    for path in ids
        .iter()
        .flat_map(|id| ["", "/input_items", "/cancel", "/x"].map(|rest| format!("{PATH}/{id}{rest}")))
    {
        for query in queries {
            let (status, answer) = ask(&mut stage, get(&format!("{path}{query}"))).await;
            assert!([200, 400, 404, 405].contains(&status), "{path}{query}: {status} {answer}");
        }
    }
}
