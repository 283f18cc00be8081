//! The shapes that do not follow from the table: messages, answers, errors.

#![expect(clippy::needless_pass_by_value, reason = "schemas are put together from the inside to the outside")]

use serde_json::{Value, json};

use super::reference;
use crate::openai::schema::message::MESSAGE;
use crate::openai::schema::params::PARAMS;
use crate::openai::schema::{Endpoint, Fate};

/// Returns all fixed schemas, by name.
pub(super) fn fixed() -> Value {
    let mut schemas = answers();
    for (name, schema) in [
        ("Message", message()),
        ("TokenLogprob", token_logprob()),
        ("CompletionLogprobs", completion_logprobs()),
        ("PromptLogprobs", prompt_logprobs()),
        ("Usage", usage()),
        ("Error", error()),
        ("Model", model()),
        ("ModelList", object(json!({ "object": { "const": "list" }, "data": list(reference("Model")) }))),
        ("Version", object(json!({ "version": { "type": "string" } }))),
        ("TokenizeRequest", tokenize()),
        ("TokenizeResponse", tokenized()),
        ("DetokenizeRequest", object(json!({ "tokens": list(token_id()) }))),
        ("DetokenizeResponse", object(json!({ "prompt": { "type": "string" } }))),
    ] {
        schemas[name] = schema;
    }
    schemas
}

/// Returns the schema of an object with required properties.
pub(crate) fn object(properties: Value) -> Value {
    let required: Vec<_> =
        properties.as_object().into_iter().flat_map(|fields| fields.keys().cloned()).collect();
    json!({ "type": "object", "required": required, "properties": properties })
}

/// Returns the schema of an object with required and optional properties.
pub(crate) fn object_with(properties: Value, optional: Value) -> Value {
    let mut schema = object(properties);
    if let (Some(all), Value::Object(optional)) = (schema["properties"].as_object_mut(), optional) {
        all.extend(optional);
    }
    schema
}

pub(crate) fn list(items: Value) -> Value {
    json!({ "type": "array", "items": items })
}

pub(crate) fn nullable(schema: Value) -> Value {
    json!({ "anyOf": [schema, { "type": "null" }] })
}

fn token_id() -> Value {
    json!({ "type": "integer", "minimum": 0 })
}

pub(crate) fn count() -> Value {
    json!({ "type": "integer", "minimum": 0 })
}

fn logprob() -> Value {
    json!({ "type": "number", "minimum": -9999, "maximum": 0 })
}

/// Returns the schema of a message of any role, with any other field, which the template reads.
fn message() -> Value {
    let part = object(json!({ "type": { "const": "text" }, "text": { "type": "string" } }));
    let content = json!({ "anyOf": [{ "type": "string" }, list(part)] });
    let of_role = |role: Value, content: Value, required: &[&str]| {
        let mut properties = json!({ "role": role, "content": content });
        for param in MESSAGE.iter().filter(|param| !["role", "content"].contains(&param.name)) {
            properties[param.name] = nullable(match param.fate {
                Fate::Refused { unless, .. } => unless.schema(),
                Fate::Honoured { .. } | Fate::Ignored => param.kind.schema(),
            });
        }
        json!({ "type": "object", "required": required, "properties": properties })
    };
    let speaking = json!(["system", "developer", "user"]);
    let other = json!({
        "type": "string", "minLength": 1, "maxLength": 1024, "not": { "enum": speaking },
    });
    json!({ "anyOf": [
        of_role(json!({ "enum": speaking }), content.clone(), &["role", "content"]),
        of_role(other, nullable(content), &["role"]),
    ] })
}

fn token_logprob() -> Value {
    let bytes = nullable(list(json!({ "type": "integer", "minimum": 0, "maximum": 255 })));
    let entry = json!({ "token": { "type": "string" }, "logprob": logprob(), "bytes": bytes });
    let mut with_top = entry.clone();
    with_top["top_logprobs"] = list(object(entry));
    object(with_top)
}

fn completion_logprobs() -> Value {
    let top = json!({ "type": "object", "additionalProperties": logprob() });
    object(json!({
        "tokens": list(json!({ "type": "string" })),
        "token_logprobs": list(nullable(logprob())),
        "top_logprobs": list(nullable(top)),
        "text_offset": list(count()),
    }))
}

fn prompt_logprobs() -> Value {
    let entry = object(json!({
        "logprob": logprob(), "rank": nullable(count()), "decoded_token": { "type": "string" },
    }));
    list(nullable(json!({ "type": "object", "additionalProperties": entry })))
}

fn usage() -> Value {
    let own = json!({
        "prompt_tokens": count(), "completion_tokens": count(), "total_tokens": count(),
        "prompt_tokens_details": object(json!({ "cached_tokens": count() })),
    });
    let reasoning = object(json!({ "reasoning_tokens": count() }));
    object_with(own, json!({ "completion_tokens_details": reasoning }))
}

/// Returns the message of a whole answer, and the deltas that make one.
fn message_and_delta() -> (Value, Value) {
    let (assistant, text) = (json!({ "const": "assistant" }), json!({ "type": "string" }));
    let function = object(json!({ "name": text, "arguments": text }));
    let call = object(json!({ "id": text, "type": { "const": "function" }, "function": function }));
    let own = json!({ "role": assistant, "content": nullable(text.clone()), "refusal": { "type": "null" } });
    let parts = json!({
        "reasoning": text, "reasoning_content": text, "tool_calls": list(call),
        "function_call": object(json!({ "name": text, "arguments": text })),
    });
    let begun = object_with(json!({ "arguments": text }), json!({ "name": text }));
    let piece = object_with(
        json!({ "index": count(), "function": begun.clone() }),
        json!({ "id": text, "type": { "const": "function" } }),
    );
    let delta = json!({
        "role": assistant, "content": text, "reasoning": text, "reasoning_content": text,
        "tool_calls": list(piece), "function_call": begun,
    });
    (object_with(own, parts), json!({ "type": "object", "properties": delta }))
}

fn error() -> Value {
    let text = json!({ "type": "string" });
    object(json!({ "error": object(json!({
        "message": text, "type": text, "param": nullable(text.clone()), "code": text,
    })) }))
}

fn model() -> Value {
    object(json!({
        "id": { "type": "string" }, "object": { "const": "model" }, "created": count(),
        "owned_by": { "type": "string" }, "root": { "type": "string" }, "parent": { "type": "null" },
        "max_model_len": count(),
    }))
}

fn tokenize() -> Value {
    let flag = json!({ "type": "boolean" });
    let text = object_with(
        json!({ "prompt": { "type": "string" } }),
        json!({ "add_special_tokens": flag, "return_token_strs": flag }),
    );
    const OF_CHAT: [&str; 8] = [
        "add_generation_prompt",
        "continue_final_message",
        "chat_template_kwargs",
        "reasoning_effort",
        "tools",
        "tool_choice",
        "functions",
        "function_call",
    ];
    let of_chat = PARAMS.iter().filter(|param| OF_CHAT.contains(&param.name) && param.is_on(Endpoint::Chat));
    let mut more: serde_json::Map<_, _> =
        of_chat.map(|param| (param.name.to_owned(), param.kind.schema())).collect();
    more.insert("return_token_strs".to_owned(), flag);
    let messages = object_with(
        json!({ "messages": { "type": "array", "minItems": 1, "items": reference("Message") } }),
        more.into(),
    );
    json!({ "anyOf": [messages, text] })
}

fn tokenized() -> Value {
    object(json!({
        "count": count(), "max_model_len": count(), "tokens": list(token_id()),
        "token_strs": nullable(list(json!({ "type": "string" }))),
    }))
}

/// Returns the optional fields of a choice about its end and its tokens.
fn choice_extras() -> Value {
    json!({
        "stop_reason": { "anyOf": [{ "type": "string" }, token_id()] },
        "token_ids": list(token_id()),
    })
}

fn answer(kind: &str, choice: Value) -> Value {
    json!({
        "id": { "type": "string" }, "object": { "const": kind }, "created": count(),
        "model": { "type": "string" }, "choices": list(choice),
    })
}

fn answers() -> Value {
    let finish = json!({ "enum": ["stop", "length"] });
    let chat_logprobs = nullable(object(json!({
        "content": list(reference("TokenLogprob")), "refusal": { "type": "null" },
    })));
    let chat_choice = |key: &str, value: Value, finish: &Value| {
        let own = json!({ "index": count(), key: value, "logprobs": chat_logprobs, "finish_reason": finish });
        object_with(own, choice_extras())
    };
    let text = json!({ "type": "string" });
    let (message, delta) = message_and_delta();
    let chat_finish = json!({ "enum": ["stop", "length", "tool_calls", "function_call"] });
    let chat_running = nullable(chat_finish.clone());
    let mut text_extras = choice_extras();
    text_extras["prompt_token_ids"] = list(token_id());
    text_extras["prompt_logprobs"] = reference("PromptLogprobs");
    let text_choice = |finish: &Value| {
        let logprobs = nullable(reference("CompletionLogprobs"));
        let own = json!({ "index": count(), "text": text, "logprobs": logprobs, "finish_reason": finish });
        object_with(own, text_extras.clone())
    };
    let running = nullable(finish.clone());
    let whole = |mut answer: Value| {
        answer["usage"] = reference("Usage");
        answer
    };
    let usage = json!({ "usage": nullable(reference("Usage")) });
    let prompt =
        json!({ "prompt_token_ids": list(token_id()), "prompt_logprobs": reference("PromptLogprobs") });
    let mut chunk_extras = usage.clone();
    chunk_extras["prompt_token_ids"] = list(token_id());
    json!({
        "ChatCompletion":
            object_with(whole(answer("chat.completion", chat_choice("message", message, &chat_finish))), prompt),
        "ChatCompletionChunk":
            object_with(answer("chat.completion.chunk", chat_choice("delta", delta, &chat_running)), chunk_extras),
        "Completion": object(whole(answer("text_completion", text_choice(&finish)))),
        "CompletionChunk": object_with(answer("text_completion", text_choice(&running)), usage),
    })
}
