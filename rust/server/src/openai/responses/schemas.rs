//! The shapes of responses for `/openapi.json`.

use serde_json::{Value, json};

use super::params::all_params;
use crate::openai::openapi::parameters;

/// Returns all of them, by name.
pub(in crate::openai) fn schemas() -> Vec<(&'static str, Value)> {
    let text = json!({ "type": "string" });
    let count = json!({ "type": "integer", "minimum": 0 });
    let items = json!({ "type": "array", "items": { "type": "object", "required": ["type", "id"] } });
    let usage = json!({
        "type": "object",
        "required": ["input_tokens", "output_tokens", "total_tokens"],
        "properties": { "input_tokens": count, "output_tokens": count, "total_tokens": count },
    });
    let statuses = ["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"];
    let response = json!({
        "type": "object",
        "required": ["id", "object", "created_at", "status", "model", "output", "usage", "error"],
        "properties": {
            "id": text, "object": { "const": "response" }, "created_at": count, "model": text,
            "status": { "enum": statuses }, "output": items,
            "usage": { "anyOf": [usage, { "type": "null" }] },
            "error": { "type": ["object", "null"] }, "incomplete_details": { "type": ["object", "null"] },
        },
    });
    let event = json!({
        "type": "object", "required": ["type", "sequence_number"],
        "properties": { "type": text, "sequence_number": count },
    });
    let list = json!({
        "type": "object", "required": ["object", "data", "first_id", "last_id", "has_more"],
        "properties": {
            "object": { "const": "list" }, "data": items, "has_more": { "type": "boolean" },
            "first_id": { "type": ["string", "null"] }, "last_id": { "type": ["string", "null"] },
        },
    });
    let deleted = json!({
        "type": "object", "required": ["id", "object", "deleted"],
        "properties": { "id": text, "object": { "const": "response" }, "deleted": { "const": true } },
    });
    let tokens = json!({
        "type": "object", "required": ["object", "input_tokens"],
        "properties": { "object": { "const": "response.input_tokens" }, "input_tokens": count },
    });
    vec![
        ("ResponseRequest", parameters(all_params())),
        ("ResponseTokens", tokens),
        ("InputItem", input_item()),
        ("Response", response),
        ("ResponseEvent", event),
        ("ResponseItemList", list),
        ("DeletedResponse", deleted),
    ]
}

fn input_item() -> Value {
    let text = json!({ "type": "string" });
    let name = json!({ "type": "string", "minLength": 1, "maxLength": 1024 });
    let part = json!({
        "type": "object", "required": ["type", "text"],
        "properties": { "type": { "enum": ["input_text", "output_text", "text"] }, "text": text },
    });
    let content = json!({ "anyOf": [text, { "type": "array", "items": part }] });
    let item = |kind: &str, mut properties: Value, required: &[&str]| {
        properties["type"] = json!({ "const": kind });
        json!({ "type": "object", "required": required, "properties": properties })
    };
    let roles = json!({ "enum": ["user", "assistant", "system", "developer"] });
    let message = json!({
        "type": "object", "required": ["role", "content"],
        "properties": { "type": { "const": "message" }, "role": roles, "content": content },
    });
    let call = json!({ "call_id": name, "name": name, "arguments": text });
    let custom = json!({ "call_id": name, "name": name, "input": text });
    let output = json!({ "call_id": name, "output": content });
    json!({ "anyOf": [
        message,
        item("function_call", call, &["type", "call_id", "name", "arguments"]),
        item("function_call_output", output.clone(), &["type", "call_id", "output"]),
        item("custom_tool_call", custom, &["type", "call_id", "name", "input"]),
        item("custom_tool_call_output", output, &["type", "call_id", "output"]),
        item("reasoning", json!({}), &["type"]),
        item("item_reference", json!({ "id": name }), &["type", "id"]),
    ] })
}
