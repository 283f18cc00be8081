//! Calls that are forced, strict, or one of two ways to answer.

use serde_json::{Map, Value, json};
use streamcore_parsers::{Detected, ReasoningFormat, ToolFormat};

use crate::common::model::text_model;
use crate::{CHAT, Live, chat, is_of_schema, marked, plain, schema};

fn tools() -> Value {
    let strict = |name: &str, parameters: Value| json!({ "type": "function", "function": { "name": name, "strict": true, "parameters": parameters } });
    let weather = json!({
        "type": "object",
        "properties": {
            "city": { "type": "string", "enum": ["Oslo", "Rome"] },
            "days": { "type": "integer", "minimum": 1, "maximum": 9 },
            "wet": { "type": "boolean" },
        },
        "required": ["days"],
        "additionalProperties": false,
    });
    json!([
        strict("weather", weather),
        strict("now", json!({ "type": "object", "properties": {}, "additionalProperties": false }))
    ])
}

fn check_call(call: &Value) {
    let function = &call["function"];
    let arguments: Map<String, Value> =
        serde_json::from_str(function["arguments"].as_str().unwrap()).unwrap_or_else(|_| panic!("{call}"));
    match function["name"].as_str().unwrap() {
        "now" => assert!(arguments.is_empty(), "{call}"),
        "weather" => {
            assert!((1..=9).contains(&arguments["days"].as_i64().unwrap()), "{call}");
            for (name, value) in &arguments {
                let is_right = match name.as_str() {
                    "city" => *value == "Oslo" || *value == "Rome",
                    "days" => true,
                    "wet" => value.is_boolean(),
                    _ => false,
                };
                assert!(is_right, "{call}");
            }
        }
        name => panic!("{name} is no tool"),
    }
}

/// A program of the time before `tools` looks for `function_call`, and knows no other end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_of_a_function_is_told_in_the_older_form() {
    let live = Live::new(&marked(), Detected { tools: Some(ToolFormat::Hermes), reasoning: None }, 11, 2);
    let functions = json!([{ "name": "weather", "parameters": schema() }]);
    let more = json!({ "functions": functions, "function_call": { "name": "weather" } });
    let choice = &live.choices(CHAT, chat(&more)).await[0];
    let (message, call) = (&choice["message"], &choice["message"]["function_call"]);
    assert_eq!((&choice["finish_reason"], &call["name"]), (&json!("function_call"), &json!("weather")));
    assert!(is_of_schema(call["arguments"].as_str().unwrap()), "{call}");
    assert!(message.get("tool_calls").is_none() && message["content"].is_null(), "{message}");
}

/// An agent that must get a call would get prose, or a call that its own program refuses.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forced_call_is_one_in_every_format() {
    for (is_marked, text) in [(false, text_model()), (true, marked())] {
        for (name, format) in ToolFormat::ALL {
            let reasoning = (format == ToolFormat::Openai).then_some(ReasoningFormat::OpenaiGptoss);
            // The thought of gpt-oss ends with tokens that letters would take for ever to say.
            if reasoning.is_some() && !is_marked {
                continue;
            }
            let live = Live::new(&text, Detected { tools: Some(format), reasoning }, 11, 2);
            for (choice, only) in [
                (json!("required"), None),
                (json!({ "type": "function", "function": { "name": "now" } }), Some("now")),
                (
                    json!({ "type": "allowed_tools", "allowed_tools": { "mode": "required",
                        "tools": [{ "type": "function", "function": { "name": "weather" } }] } }),
                    Some("weather"),
                ),
            ] {
                let body = chat(json!({ "tools": tools(), "tool_choice": choice, "n": 3 }));
                for answer in live.choices(CHAT, body).await {
                    let calls = answer["message"]["tool_calls"].as_array();
                    let calls = calls.unwrap_or_else(|| panic!("{name}, {is_marked}: {answer}"));
                    assert_eq!(answer["finish_reason"], "tool_calls", "{name}, {is_marked}: {answer}");
                    assert!(!calls.is_empty(), "{name}: {answer}");
                    for call in calls {
                        check_call(call);
                        assert!(only.is_none_or(|only| call["function"]["name"] == only), "{name}: {answer}");
                    }
                    let content = &answer["message"]["content"];
                    assert!(content.is_null() || content == "", "{name}, {is_marked}: {answer}");
                }
            }
            let one = chat(
                json!({ "tools": tools(), "tool_choice": "required", "parallel_tool_calls": false, "n": 3 }),
            );
            for answer in live.choices(CHAT, one).await {
                assert_eq!(answer["message"]["tool_calls"].as_array().unwrap().len(), 1, "{name}: {answer}");
            }
        }
    }
}

/// Calls and a format together: an agent answers with a call, or with the object at the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_tools_and_a_format_an_answer_is_one_or_the_other() {
    let live = Live::new(&marked(), Detected { tools: Some(ToolFormat::Hermes), reasoning: None }, 3, 1);
    let (mut num_calls, mut num_objects) = (0, 0);
    for _ in 0..12 {
        for answer in
            live.choices(CHAT, chat(json!({ "tools": tools(), "guided_json": schema(), "n": 4 }))).await
        {
            match answer["message"]["tool_calls"].as_array() {
                Some(calls) => {
                    calls.iter().for_each(check_call);
                    num_calls += 1;
                }
                None => {
                    assert!(is_of_schema(answer["message"]["content"].as_str().unwrap()), "{answer}");
                    num_objects += 1;
                }
            }
        }
    }
    assert!(num_calls > 0 && num_objects > 0, "{num_calls} calls, {num_objects} objects");
}

/// A strict tool that is called freely is called right, and the text around is the model's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_free_call_of_a_strict_tool_is_right() {
    for (name, format) in ToolFormat::ALL {
        let reasoning = (format == ToolFormat::Openai).then_some(ReasoningFormat::OpenaiGptoss);
        let live = Live::new(&marked(), Detected { tools: Some(format), reasoning }, 2, 1);
        for _ in 0..4 {
            for answer in
                live.choices(CHAT, chat(json!({ "tools": tools(), "n": 4, "max_tokens": 600 }))).await
            {
                if answer["finish_reason"] == "tool_calls" {
                    answer["message"]["tool_calls"].as_array().unwrap().iter().for_each(check_call);
                }
                assert!(!answer["message"].is_null(), "{name}");
            }
        }
    }
}

/// A strict tool whose schema is left out in silence is called with anything; one that is not
/// strict is called all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_enforced_is_refused_where_it_was_promised() {
    for (format, not_json) in
        [(ToolFormat::Hermes, false), (ToolFormat::Qwen3Xml, true), (ToolFormat::Gemma4, true)]
    {
        let live = Live::new(&text_model(), Detected { tools: Some(format), reasoning: None }, 4, 1);
        let ask = async |strict: bool, parameters: &Value| {
            let tool = json!({ "function": { "name": "f", "strict": strict, "parameters": parameters } });
            live.ask(CHAT, chat(json!({ "tools": [tool], "tool_choice": "required", "max_tokens": 200 })))
                .await
        };
        let property =
            |schema: Value| json!({ "type": "object", "properties": { "n": schema }, "required": ["n"] });
        let enforced_in_json = property(json!({ "type": "string", "pattern": "^a*$" }));
        for (parameters, is_refused) in
            [(property(json!({ "not": { "const": 1 } })), true), (enforced_in_json, not_json)]
        {
            let (status, answer) = ask(true, &parameters).await;
            assert_eq!(status, if is_refused { 400 } else { 200 }, "{format:?}: {answer}");
            let message = answer["error"]["message"].as_str().unwrap_or_default();
            assert!(!is_refused || message.contains("cannot be enforced"), "{answer}");
            assert_eq!(ask(false, &parameters).await.0, 200, "{format:?}: {parameters}");
        }
    }
}

/// A model whose template knows no tools answers with a call all the same where it must.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_that_knows_no_tools_is_told_of_them() {
    let live = plain(9, 1);
    let body = chat(json!({ "tools": tools(), "tool_choice": "required", "return_token_ids": true }));
    let (status, answer) = live.ask(CHAT, body).await;
    assert_eq!(status, 200, "{answer}");
    let call = &answer["choices"][0]["message"]["tool_calls"][0];
    check_call(call);
    let prompt: Vec<u8> =
        answer["prompt_token_ids"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u8).collect();
    let prompt = String::from_utf8(prompt).unwrap();
    assert!(prompt.contains("\"name\":\"weather\"") && prompt.contains("<tool_call>"), "{prompt}");
}
