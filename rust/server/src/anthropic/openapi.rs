//! The routes and shapes of this dialect in `/openapi.json`.

use serde_json::{Value, json};

use super::schema::params;
use crate::openai::openapi::schemas::{count, list, nullable, object, object_with};
use crate::openai::openapi::{get_with, parameters, post_with, reference};

/// Returns a route of this dialect.
pub(crate) fn post(id: &str, request: &str, answer: &str, data: Option<Value>) -> Value {
    let error = reference("MessageError");
    let mut operation = post_with(id, request, answer, data, &error);
    operation["responses"]["529"] = json!({
        "description": "shutting down", "content": { "application/json": { "schema": error } },
    });
    operation
}

/// Returns a route of both dialects, selected by a header.
pub(crate) fn or_other(id: &str, ours: &str, theirs: &str) -> Value {
    let either = |ours: &str, theirs: &str| json!({ "anyOf": [reference(ours), reference(theirs)] });
    let answer = json!({ "application/json": { "schema": either(ours, theirs) } });
    let mut operation = get_with(id, &answer, &either("Error", "MessageError"));
    operation["parameters"] = json!([{
        "name": "anthropic-version", "in": "header", "schema": { "type": "string" },
        "description": "Asks for the answer in Anthropic's shape.",
    }]);
    operation
}

/// Returns all schemas of this dialect, by name.
pub(crate) fn schemas() -> Vec<(&'static str, Value)> {
    let mut count_request = parameters(params());
    count_request["required"] = json!(["messages"]);
    vec![
        ("MessageRequest", parameters(params())),
        ("MessageCountRequest", count_request),
        ("MessageTokens", object(json!({ "input_tokens": count() }))),
        ("MessageAnswer", message()),
        ("MessageEvent", event()),
        ("MessageError", refusal()),
        ("MessageModel", model()),
        ("MessageModelList", models()),
    ]
}

fn text() -> Value {
    json!({ "type": "string" })
}

fn usage() -> Value {
    let details = json!({ "output_tokens_details": object(json!({ "thinking_tokens": count() })) });
    let counts = json!({
        "input_tokens": count(), "cache_creation_input_tokens": count(), "cache_read_input_tokens": count(),
        "output_tokens": count(),
    });
    object_with(counts, details)
}

fn end() -> Value {
    let reasons = json!({ "enum": ["end_turn", "max_tokens", "stop_sequence", "tool_use"] });
    json!({ "stop_reason": nullable(reasons), "stop_sequence": nullable(text()) })
}

fn block() -> Value {
    let of = |kind: &str, mut own: Value| {
        own["type"] = json!({ "const": kind });
        object(own)
    };
    json!({ "anyOf": [
        of("text", json!({ "text": text() })),
        of("thinking", json!({ "thinking": text(), "signature": text() })),
        of("tool_use", json!({ "id": text(), "name": text(), "input": { "type": "object" } })),
    ] })
}

fn message() -> Value {
    let mut message = json!({
        "id": text(), "type": { "const": "message" }, "role": { "const": "assistant" }, "model": text(),
        "content": list(block()), "usage": usage(),
    });
    for (name, schema) in end().as_object().into_iter().flatten() {
        message[name] = schema.clone();
    }
    object(message)
}

fn event() -> Value {
    let of = |kind: &str, mut own: Value| {
        own["type"] = json!({ "const": kind });
        object(own)
    };
    let deltas = json!({ "anyOf": [
        of("text_delta", json!({ "text": text() })),
        of("thinking_delta", json!({ "thinking": text() })),
        of("signature_delta", json!({ "signature": text() })),
        of("input_json_delta", json!({ "partial_json": text() })),
    ] });
    json!({ "anyOf": [
        of("message_start", json!({ "message": reference("MessageAnswer") })),
        of("content_block_start", json!({ "index": count(), "content_block": block() })),
        of("content_block_delta", json!({ "index": count(), "delta": deltas })),
        of("content_block_stop", json!({ "index": count() })),
        of("message_delta", json!({ "delta": object(end()), "usage": usage() })),
        of("message_stop", json!({})),
        of("ping", json!({})),
        of("error", json!({ "error": error() })),
    ] })
}

fn error() -> Value {
    object(json!({ "type": text(), "message": text() }))
}

fn refusal() -> Value {
    object(json!({ "type": { "const": "error" }, "error": error(), "request_id": text() }))
}

fn model() -> Value {
    object(json!({
        "type": { "const": "model" }, "id": text(), "display_name": text(),
        "created_at": { "type": "string", "format": "date-time" }, "lifecycle": { "const": "active" },
        "max_input_tokens": count(), "max_tokens": count(),
    }))
}

fn models() -> Value {
    object(json!({
        "data": list(reference("MessageModel")), "has_more": { "const": false },
        "first_id": nullable(text()), "last_id": nullable(text()),
    }))
}
