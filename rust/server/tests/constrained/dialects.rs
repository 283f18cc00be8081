//! Answers of the other dialects that are held to something, as streams: each keeps the rules of
//! its events, and says through either door what was asked for.

use axum::http::Request;
use bytes::Bytes;
use serde_json::{Value, json};
use streamcore_parsers::{Detected, ReasoningFormat, ToolFormat};
use tower::ServiceExt;

#[path = "../messages/grammar.rs"]
#[allow(dead_code, reason = "whole messages are checked elsewhere")]
mod message_events;

use crate::common::transcript::{Transcript, transcript_of};
use crate::common::{door, post, response_events};
use crate::{Live, is_of_schema, marked, schema};

const MESSAGES: &str = "/v1/messages";
const RESPONSES: &str = "/v1/responses";

/// What an answer is: the text, or the arguments of its only call.
fn said(path: &str, answer: &Value) -> String {
    if path == MESSAGES {
        let blocks = answer["content"].as_array().unwrap();
        let last = blocks.iter().rfind(|block| block["type"] != "thinking").unwrap();
        return last["text"].as_str().map_or_else(|| last["input"].to_string(), str::to_owned);
    }
    let items = answer["output"].as_array().unwrap();
    let last = items.iter().rfind(|item| item["type"] != "reasoning").unwrap();
    let text = last["content"][0]["text"].as_str().or(last["arguments"].as_str());
    text.unwrap().to_owned()
}

fn read(path: &str, transcript: &Transcript) -> Value {
    let read = if path == MESSAGES { message_events::read } else { response_events::read };
    read(transcript).unwrap_or_else(|broken| panic!("{broken} in {}", transcript.golden()))
}

/// The ways to ask for something that is of the schema.
fn ways() -> Vec<(&'static str, Value)> {
    let format = json!({ "type": "json_schema", "name": "x", "schema": schema() });
    let tool = json!([{ "type": "function", "name": "weather", "strict": true, "parameters": schema() }]);
    let named = json!({ "type": "function", "name": "weather" });
    let of_messages = json!([{ "name": "weather", "strict": true, "input_schema": schema() }]);
    let mut ways = vec![(RESPONSES, json!({ "text": { "format": format } }))];
    for choice in [
        json!("required"),
        named.clone(),
        json!({ "type": "allowed_tools", "mode": "required", "tools": [named] }),
    ] {
        let more = json!({ "tools": tool, "tool_choice": choice, "parallel_tool_calls": false });
        ways.push((RESPONSES, more));
    }
    ways.push((
        MESSAGES,
        json!({ "output_config": { "format": { "type": "json_schema", "schema": schema() } } }),
    ));
    for choice in [json!({ "type": "any" }), json!({ "type": "tool", "name": "weather" })] {
        let mut choice = choice;
        choice["disable_parallel_tool_use"] = json!(true);
        ways.push((MESSAGES, json!({ "tools": of_messages, "tool_choice": choice })));
    }
    ways
}

fn body(path: &str, more: &Value) -> Value {
    let mut body = if path == MESSAGES {
        let messages = json!([{ "role": "user", "content": "hi" }]);
        json!({ "model": "toy", "max_tokens": 3000, "messages": messages, "thinking": { "type": "enabled", "budget_tokens": 9 } })
    } else {
        json!({ "model": "toy", "max_output_tokens": 3000, "input": "hi", "thinking_token_budget": 9 })
    };
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

/// Where a format and a strict tool are asked for at once, the refusal names the one whose schema
/// is wrong.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_names_the_tools_or_the_format() {
    let live = Live::new(&marked(), Detected { tools: Some(ToolFormat::Hermes), reasoning: None }, 3, 1);
    let wrong = json!({ "type": "object", "properties": { "city": "a name" } });
    let tool =
        |schema: &Value| json!([{ "type": "function", "name": "f", "strict": true, "parameters": schema }]);
    let format =
        |schema: &Value| json!({ "format": { "type": "json_schema", "name": "x", "schema": schema } });
    for (tool_schema, format_schema, param) in [
        (&wrong, &schema(), "tools"),
        (&schema(), &wrong, "text.format.schema"),
        (&wrong, &wrong, "text.format.schema"),
    ] {
        let more = json!({ "tools": tool(tool_schema), "text": format(format_schema) });
        let (status, refused) = live.ask(RESPONSES, body(RESPONSES, &more)).await;
        assert_eq!((status, &refused["error"]["param"]), (400, &json!(param)), "{refused}");
    }
}

/// A program that parses what an agent's model has said would fail at the first word too many, and
/// its client at the first event.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_says_what_was_asked_for_in_either_dialect() {
    let formats = Detected { tools: Some(ToolFormat::Hermes), reasoning: Some(ReasoningFormat::Qwen3) };
    for depth in [1, 2] {
        let live = Live::new(&marked(), formats, 11 + depth as u64, depth);
        for (path, more) in ways() {
            let mut asked = body(path, &more);
            let (status, whole) = live.ask(path, asked.clone()).await;
            assert_eq!(status, 200, "{whole}");
            assert!(is_of_schema(&said(path, &whole)), "{whole}");
            asked["stream"] = json!(true);
            let response = live.router.clone().oneshot(post(path, asked.clone())).await.unwrap();
            let streamed = read(path, &transcript_of(response).await);
            assert!(is_of_schema(&said(path, &streamed)), "{streamed}");
            let (_, request): (_, Request<Bytes>) = door::twice(post(path, asked));
            let second = read(path, &door::play(live.router.clone(), request, std::thread::yield_now));
            assert!(is_of_schema(&said(path, &second)), "{second}");
        }
    }
}
