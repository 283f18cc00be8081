//! Reading of a body: the request that a chat makes, or a refusal that names the field.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use streamcore_server::anthropic::request::take;
use streamcore_server::anthropic::schema::params;
use streamcore_server::openai::chat::request::ChatRequest;
use streamcore_server::openai::chat::tools::Choice;
use streamcore_server::openai::fields::Fields;
use streamcore_server::openai::schema::{Endpoint, Fate, Param, body_params};
use streamcore_server::text::PromptEnd;

use crate::cases::ask;
use crate::common::Stage;

fn body(extra: &Value) -> Value {
    let mut body = json!({ "max_tokens": 9, "messages": [{ "role": "user", "content": "hi" }] });
    body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    body
}

fn read(extra: &Value) -> ChatRequest {
    let text = body(extra).to_string();
    take(&mut Fields::parse(text.as_bytes()).unwrap(), 256).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn chat(body: &Value) -> ChatRequest {
    ChatRequest::parse(body.to_string().as_bytes(), 256).unwrap()
}

/// A model must see the same conversation in whichever dialect it comes; a prompt that differs by a
/// word is another prompt to the cache, and a worse one to the model.
#[test]
fn a_conversation_is_the_same_in_both_dialects() {
    let ours = read(&json!({
        "system": [
            { "type": "text", "text": "x-anthropic-billing-header: cc_version=2; cch=1f3a;" },
            { "type": "text", "text": "Be", "cache_control": { "type": "ephemeral" } },
            { "type": "text", "text": "brief." },
        ],
        "messages": [
            { "role": "user", "content": "a" },
            { "role": "user", "content": [{ "type": "text", "text": "b" }] },
            { "role": "assistant", "content": [
                { "type": "redacted_thinking", "data": "AAA=" },
                { "type": "thinking", "thinking": "Hm.", "signature": "s" },
                { "type": "text", "text": "I look.", "citations": null },
                { "type": "tool_use", "id": "1", "name": "f", "input": { "x": [1, "é"] } },
                { "type": "tool_use", "id": "2", "name": "g", "input": {} },
            ] },
            { "role": "user", "content": [
                { "type": "tool_result", "tool_use_id": "1", "content": [{ "type": "text", "text": "5" }, { "type": "text", "text": "6" }] },
                { "type": "tool_result", "tool_use_id": "2", "is_error": true },
                { "type": "text", "text": "c" },
                { "type": "text", "text": "d" },
            ] },
        ],
        "tools": [
            { "type": "custom", "name": "f", "description": "F", "input_schema": { "type": "object" }, "strict": true },
            { "name": "g", "cache_control": { "type": "ephemeral" } },
        ],
        "tool_choice": { "type": "auto", "disable_parallel_tool_use": true },
    }));
    let call = |id: &str, name: &str, arguments: Value| json!({ "type": "function", "function": { "name": name, "arguments": arguments }, "id": id });
    let theirs = chat(&json!({
        "messages": [
            { "role": "system", "content": "Be\nbrief." },
            { "role": "user", "content": "a\nb" },
            {
                "role": "assistant", "content": "I look.", "reasoning_content": "Hm.",
                "tool_calls": [call("1", "f", json!({ "x": [1, "é"] })), call("2", "g", json!({}))],
            },
            { "role": "tool", "tool_call_id": "1", "content": "5\n6" },
            { "role": "tool", "tool_call_id": "2", "content": "" },
            { "role": "user", "content": "c\nd" },
        ],
        "tools": [
            { "type": "function", "function": { "name": "f", "description": "F", "parameters": { "type": "object" }, "strict": true } },
            { "type": "function", "function": { "name": "g" } },
        ],
        "parallel_tool_calls": false,
    }));
    assert_eq!(ours.conversation, theirs.conversation);
    let tools = |request: ChatRequest| (request.tools.list, request.tools.choice, request.tools.is_parallel);
    assert_eq!(tools(ours), tools(theirs));
}

/// A field that chat honours and this route has never heard of would be ignored without a word.
#[test]
fn every_field_that_chat_honours_has_a_fate_here() {
    let is_honoured = |param: &&Param| matches!(param.fate, Fate::Honoured { .. });
    let of_chat = body_params().filter(|param| param.is_on(Endpoint::Chat)).filter(is_honoured);
    let here: BTreeSet<_> = params().map(|param| param.name).collect();
    let missing: Vec<_> = of_chat.map(|param| param.name).filter(|name| !here.contains(name)).collect();
    assert_eq!(missing, Vec::<&str>::new());
}

/// What is asked for in other words must be what a chat would ask for.
#[test]
fn options_are_those_of_a_chat() {
    let ours = read(&json!({
        "stop_sequences": ["a", "b"], "temperature": 0.5, "top_k": 4, "top_p": 0.9, "stream": true, "seed": 7,
        "metadata": { "user_id": "u" }, "service_tier": "auto",
    }));
    let mut theirs = chat(&json!({
        "max_tokens": 9, "messages": [{ "role": "user", "content": "hi" }], "stop": ["a", "b"], "temperature": 0.5,
        "top_k": 4, "top_p": 0.9, "stream": true, "seed": 7,
    }));
    theirs.options.caps_max_tokens = true;
    assert_eq!(ours.options, theirs.options);
    for (choice, expected) in [
        (json!({ "type": "any" }), Choice::Required),
        (json!({ "type": "none" }), Choice::None),
        (json!({ "type": "tool", "name": "f" }), Choice::Named("f".to_owned())),
    ] {
        let tools = read(&json!({ "tools": [{ "name": "f" }], "tool_choice": choice })).tools;
        assert_eq!(tools.choice, expected);
        assert!(tools.is_parallel);
    }
}

/// A client that switches thinking on or off changes the template's variables, and nothing else.
#[test]
fn thinking_is_the_templates_affair() {
    for (extra, variables) in [
        (json!({}), json!({})),
        (
            json!({ "thinking": { "type": "enabled", "budget_tokens": 2048 } }),
            json!({ "enable_thinking": true, "thinking_budget": 2048 }),
        ),
        (json!({ "thinking": { "type": "adaptive" } }), json!({ "enable_thinking": true })),
        (json!({ "thinking": { "type": "disabled" } }), json!({ "enable_thinking": false })),
        (
            json!({ "thinking": { "type": "adaptive" }, "output_config": { "effort": "high" } }),
            json!({ "enable_thinking": true, "reasoning_effort": "high" }),
        ),
        (
            json!({ "thinking": { "type": "disabled" }, "chat_template_kwargs": { "enable_thinking": true } }),
            json!({ "enable_thinking": true }),
        ),
    ] {
        let request = read(&extra);
        assert_eq!(Value::Object(request.conversation.variables), variables, "{extra}");
        assert!(!request.options.details.hides_reasoning);
    }
    let omitted = read(&json!({ "thinking": { "type": "adaptive", "display": "omitted" } }));
    assert!(omitted.options.details.hides_reasoning);
}

/// An answer that has been begun goes on where it ends; one that has not been begun is a new one.
#[test]
fn the_last_message_decides_where_the_prompt_ends() {
    let end = |content: Value| {
        let messages =
            json!([{ "role": "user", "content": "a" }, { "role": "assistant", "content": content }]);
        let conversation = read(&json!({ "messages": messages })).conversation;
        (conversation.end, conversation.messages.len())
    };
    assert_eq!(end(json!("It is")), (PromptEnd::InsideLastMessage, 2));
    assert_eq!(end(json!([{ "type": "text", "text": "It is" }])), (PromptEnd::InsideLastMessage, 2));
    assert_eq!(end(json!("")), (PromptEnd::Answer, 1));
    assert_eq!(end(json!([{ "type": "redacted_thinking", "data": "A" }])), (PromptEnd::Answer, 1));
    assert_eq!(read(&json!({})).conversation.end, PromptEnd::Answer);
}

/// Messages that are wrong.
fn wrong_messages() -> Vec<Value> {
    let user = |blocks: Value| json!({ "messages": [{ "role": "user", "content": blocks }] });
    let assistant = |blocks: Value| json!({ "messages": [{ "role": "assistant", "content": blocks }, { "role": "user", "content": "" }] });
    vec![
        json!({ "max_tokens": null }),
        json!({ "max_tokens": 0 }),
        json!({ "messages": null }),
        json!({ "messages": [] }),
        json!({ "messages": "hi" }),
        json!({ "messages": ["hi"] }),
        json!({ "messages": [{ "role": "tool", "content": "hi" }] }),
        json!({ "messages": [{ "content": "hi" }] }),
        json!({ "messages": [{ "role": "user" }] }),
        user(json!(5)),
        user(json!([{ "text": "hi" }])),
        user(json!([{ "type": "text" }])),
        user(json!([{ "type": "text", "text": 5 }])),
        user(json!([{ "type": "document", "source": { "type": "text" } }])),
        user(json!([{ "type": "tool_use", "id": "1", "name": "f" }])),
        user(json!([{ "type": "tool_result", "content": "x" }])),
        user(json!([{ "type": "tool_result", "tool_use_id": "1", "content": [{ "type": "image" }] }])),
        assistant(json!([{ "type": "tool_result", "tool_use_id": "1" }])),
        assistant(json!([{ "type": "tool_use", "id": "1" }])),
        assistant(json!([{ "type": "tool_use", "name": "f", "input": "x" }])),
        assistant(json!([{ "type": "server_tool_use", "name": "web_search" }])),
        json!({ "messages": [{ "role": "user", "content": "" }, { "role": "assistant", "content": [{ "type": "tool_use", "id": "1", "name": "f" }] }] }),
    ]
}

/// Options that are wrong.
fn wrong_options() -> Vec<Value> {
    let tools = |tool: Value| json!({ "tools": [tool] });
    vec![
        json!({ "system": { "text": "x" } }),
        json!({ "system": [{ "type": "image" }] }),
        json!({ "stop_sequences": [""] }),
        json!({ "stop_sequences": ["1", "2", "3", "4", "5"] }),
        json!({ "temperature": 3 }),
        json!({ "top_k": 1.5 }),
        tools(json!({ "type": "web_search_20260209", "name": "web_search" })),
        tools(json!({ "description": "x" })),
        tools(json!({ "name": "a b" })),
        tools(json!({ "name": "f", "input_schema": [] })),
        json!({ "tool_choice": "auto" }),
        json!({ "tool_choice": {} }),
        json!({ "tool_choice": { "type": "required" } }),
        json!({ "tool_choice": { "type": "any" } }),
        json!({ "tools": [{ "name": "f" }], "tool_choice": { "type": "tool" } }),
        json!({ "tools": [{ "name": "f" }], "tool_choice": { "type": "tool", "name": "g" } }),
        json!({ "thinking": true }),
        json!({ "thinking": { "type": "on" } }),
        json!({ "thinking": { "type": "enabled", "budget_tokens": -1 } }),
        json!({ "output_config": { "format": { "type": "json" } } }),
        json!({ "output_config": { "format": { "type": "json_schema" } } }),
        json!({ "output_format": { "type": "json_schema", "schema": {} }, "output_config": { "format": { "type": "json_schema", "schema": {} } } }),
        json!({ "mcp_servers": [{ "url": "x" }] }),
        json!({ "container": "c" }),
        json!({ "n": 2 }),
        json!({ "stop": "x" }),
        json!({ "response_format": { "type": "json_object" } }),
        json!({ "repeat_penalty": 2 }),
        json!({ "chat_template": "x" }),
    ]
}

/// A client's author reads this sentence and nothing else.
#[tokio::test(start_paused = true)]
async fn refusals_name_the_field() {
    let stage = Stage::new("");
    let mut page = String::new();
    for extra in wrong_messages().into_iter().chain(wrong_options()) {
        let mut asked = ask(json!({}));
        let mut body: Value = serde_json::from_str(&asked.body).unwrap();
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        asked.body = body.to_string();
        let answer =
            tokio::time::timeout(std::time::Duration::from_secs(60), stage.answer(asked.request())).await;
        let (head, answer) = answer.unwrap_or_else(|_| panic!("{extra} is not refused"));
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(
            (head.status().as_u16(), &answer["error"]["type"]),
            (400, &json!("invalid_request_error"))
        );
        page += &format!("{extra}\n  {}\n", answer["error"]["message"].as_str().unwrap());
    }
    insta::assert_snapshot!("sentences", page);
}
