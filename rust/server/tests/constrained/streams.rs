//! Constrained answers as streams.

use serde_json::{Value, json};
use streamcore_parsers::{Detected, ReasoningFormat, ToolFormat};
use tower::ServiceExt;

use crate::common::contract::{Asked, read};
use crate::common::post;
use crate::common::transcript::transcript_of;
use crate::{CHAT, COMPLETIONS, Live, chat, json_merge, marked, schema, ways};

/// Returns the answer of a model of this seed, whole or as a stream.
async fn said(seed: u64, depth: usize, path: &'static str, body: &Value) -> Value {
    let formats = Detected { tools: Some(ToolFormat::Hermes), reasoning: Some(ReasoningFormat::Qwen3) };
    let live = Live::new(&marked(), formats, seed, depth);
    if body["stream"] == true {
        let response = live.router.clone().oneshot(post(path, body.clone())).await.unwrap();
        let told = read(&transcript_of(response).await, Asked::of(path, body))
            .unwrap_or_else(|rule| panic!("{body}: {rule}"));
        let choice = &told["choices"][0][1];
        let calls = choice["tool_calls"].as_array().cloned().unwrap_or_default();
        return summary(&choice["text"], &choice["reasoning"], &calls, &choice["finish_reason"]);
    }
    let choice = live.choices(path, body.clone()).await.swap_remove(0);
    let message = &choice["message"];
    let older = message.get("function_call").map(|function| json!({ "function": function }));
    let calls = message["tool_calls"].as_array().cloned().unwrap_or_else(|| older.into_iter().collect());
    let text = if path == CHAT { &message["content"] } else { &choice["text"] };
    summary(text, &message["reasoning"], &calls, &choice["finish_reason"])
}

/// Calls have an id by chance.
fn summary(text: &Value, reasoning: &Value, calls: &[Value], finish_reason: &Value) -> Value {
    let calls: Vec<_> = calls.iter().map(|call| &call["function"]).collect();
    let text_of = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    json!([text_of(text), text_of(reasoning), calls, finish_reason])
}

/// Tokens that are forced come several at a time and others wait for their masks: a stream that
/// lost one of them, or told it before its turn, would be another answer than the whole one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_says_what_the_whole_answer_says() {
    let tool = json!([{ "type": "function", "function": { "name": "weather", "strict": true, "parameters": schema() } }]);
    let mut asks: Vec<(&'static str, Value)> = Vec::new();
    for (more, _) in ways() {
        asks.push((
            COMPLETIONS,
            json_merge(&more, &json!({ "model": "toy", "prompt": "hi", "max_tokens": 200 })),
        ));
        asks.push((CHAT, chat(json_merge(&more, &json!({ "max_tokens": 200, "thinking_token_budget": 9 })))));
    }
    for choice in
        [json!("auto"), json!("required"), json!({ "type": "function", "function": { "name": "weather" } })]
    {
        asks.push((CHAT, chat(json!({ "tools": tool, "tool_choice": choice, "max_tokens": 200, "thinking_token_budget": 9 }))));
    }
    let function = json!([{ "name": "weather", "parameters": schema() }]);
    for call in [json!("auto"), json!({ "name": "weather" })] {
        asks.push((CHAT, chat(json!({ "functions": function, "function_call": call, "max_tokens": 200 }))));
    }
    asks.push((CHAT, chat(json!({ "guided_json": schema(), "max_tokens": 7 }))));
    asks.push((CHAT, chat(json!({ "guided_regex": "[ab]{40}", "stop": "ab" }))));
    for (nth, (path, body)) in asks.iter().enumerate() {
        let depth = 1 + nth % 2;
        let whole = said(nth as u64, depth, path, body).await;
        let usage = json!({ "stream": true, "stream_options": { "include_usage": true, "continuous_usage_stats": true } });
        let streamed = said(nth as u64, depth, path, &json_merge(body, &usage)).await;
        assert_eq!(streamed, whole, "{body}");
    }
}
