//! Items: messages of clients and models, and results of tools.

use serde_json::{Map, Value, json};

use super::request::Past;
use super::translation::Translation;
use crate::error::ApiError;
use crate::openai::fields::{Fields, text_of_length, wrong_type};
use crate::openai::options::unsupported;

/// Adds the input to a chat.
///
/// # Errors
/// 400, naming the item and its field.
pub(super) fn add_input(chat: &mut Translation, items: &[Value], past: Past<'_>) -> Result<(), ApiError> {
    items.iter().enumerate().try_for_each(|(index, item)| add(chat, item, &format!("input[{index}]"), past))
}

/// Adds stored items, whose positions a client cannot know.
///
/// # Errors
/// Only by a bug: they were accepted, or made here.
pub(super) fn add_kept(chat: &mut Translation, items: &[Value], origin: &str) -> Result<(), ApiError> {
    items.iter().try_for_each(|item| add(chat, item, origin, Past::Nothing))
}

/// Returns the items of `input`; a text is the message of a user.
///
/// # Errors
/// 400
pub(super) fn items_of(input: Value) -> Result<Vec<Value>, ApiError> {
    match input {
        Value::String(text) => Ok(vec![json!({ "type": "message", "role": "user", "content": text })]),
        Value::Array(items) if items.is_empty() => {
            let message = "`input` is empty, it must have at least one item";
            Err(ApiError::invalid("invalid_value", "input", message))
        }
        Value::Array(items) => Ok(items),
        other => Err(wrong_type("input", &other, "a string or a list of items")),
    }
}

/// Returns the items to store: each with an id, and messages with parts.
#[must_use]
pub fn stored_input(items: Vec<Value>, response: &str) -> Vec<Value> {
    let stored = |(index, item): (usize, Value)| {
        let Value::Object(mut item) = item else { return item };
        let kind = item.entry("type").or_insert_with(|| "message".into()).as_str().unwrap_or_default();
        let (is_message, prefix) = (kind == "message", prefix_of(kind));
        if !item.get("id").is_some_and(Value::is_string) {
            item.insert("id".to_owned(), format!("{prefix}_{response}_in{index}").into());
        }
        if is_message && let Some(Value::String(text)) = item.get("content") {
            let kind = if item["role"] == "assistant" { "output_text" } else { "input_text" };
            let part = json!([{ "type": kind, "text": text }]);
            item.insert("content".to_owned(), part);
        }
        Value::Object(item)
    };
    items.into_iter().enumerate().map(stored).collect()
}

/// Returns the prefix of an item's id.
pub(super) fn prefix_of(kind: &str) -> &'static str {
    match kind {
        "message" => "msg",
        "reasoning" => "rs",
        "function_call" => "fc",
        "custom_tool_call" => "ctc",
        _ => "item",
    }
}

fn add(chat: &mut Translation, item: &Value, path: &str, past: Past<'_>) -> Result<(), ApiError> {
    let mut fields = Fields::from_value(path.to_owned(), item.clone())?;
    let kind = fields.string("type")?;
    match kind.as_deref() {
        None | Some("message") => add_message(chat, fields, path),
        Some("reasoning") => add_reasoning(chat, fields, path),
        Some("function_call") => {
            let (id, name) = (call_id(&mut fields)?, required_text(&mut fields, "name")?);
            let arguments = fields.take("arguments").unwrap_or_else(|| "".into());
            chat.add_call(&id, &name, &arguments, path);
            Ok(())
        }
        // Free text is an argument of this name, as for the tool itself.
        Some("custom_tool_call") => {
            let (id, name) = (call_id(&mut fields)?, required_text(&mut fields, "name")?);
            let input = fields.string("input")?.unwrap_or_default();
            chat.add_call(&id, &name, &json!({ "input": input }), path);
            Ok(())
        }
        Some("function_call_output" | "custom_tool_call_output") => {
            let id = call_id(&mut fields)?;
            let output = fields.require("output")?;
            let output = content(&format!("{path}.output"), output)?;
            chat.add(json!({ "role": "tool", "tool_call_id": id, "content": output }), path);
            chat.field_from("tool_call_id", &format!("{path}.call_id"));
            chat.field_from("content", &format!("{path}.output"));
            Ok(())
        }
        Some("item_reference") => {
            let id = required_text(&mut fields, "id")?;
            let path = format!("{path}.id");
            let item = past.item(&id)?.ok_or_else(|| {
                let message = format!("`{path}` is `{id}`, which is no item of a stored response");
                ApiError::invalid("invalid_value", path.clone(), message)
            })?;
            add_kept(chat, &[item], &path)
        }
        Some(kind) => Err(unsupported(&format!("{path}.type"), &kind.into(), None)),
    }
}

fn add_message(chat: &mut Translation, mut fields: Fields, path: &str) -> Result<(), ApiError> {
    let role = required_text(&mut fields, "role")?;
    let text = fields.take("content").map(|value| content(&format!("{path}.content"), value)).transpose()?;
    match (role.as_str(), text) {
        ("assistant", text) => chat.add_content(text.unwrap_or_else(|| "".into()), path),
        ("system" | "developer", Some(text)) => chat.add_system(&role, &joined(&text), path),
        ("user" | "system" | "developer", text) => {
            let mut message = Map::from_iter([("role".to_owned(), role.into())]);
            message.extend(text.map(|text| ("content".to_owned(), text)));
            chat.add(message.into(), path);
        }
        _ => {
            let path = format!("{path}.role");
            let role: String = role.chars().take(64).collect();
            let message =
                format!("`{path}` is `{role}`, it must be `user`, `assistant`, `system` or `developer`");
            return Err(ApiError::invalid("invalid_value", path, message));
        }
    }
    Ok(())
}

/// Joins parts as a chat does.
fn joined(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        parts => {
            let texts = parts.as_array().into_iter().flatten().filter_map(|part| part["text"].as_str());
            texts.collect::<Vec<_>>().join("\n")
        }
    }
}

/// Adds a thought in any of its forms: plain, as a summary, or in base64.
fn add_reasoning(chat: &mut Translation, mut fields: Fields, path: &str) -> Result<(), ApiError> {
    let encrypted = fields.string("encrypted_content")?;
    for name in ["content", "summary"] {
        let place = format!("{path}.{name}");
        let texts = match fields.take(name) {
            None => continue,
            Some(Value::Array(parts)) => texts(&place, parts)?,
            Some(other) => return Err(wrong_type(&place, &other, "a list of text parts")),
        };
        if !texts.is_empty() {
            chat.add_reasoning(&texts.join("\n"), path);
            return Ok(());
        }
    }
    if let Some(text) = encrypted.as_deref().and_then(super::object::thought_of) {
        chat.add_reasoning(&text, path);
    }
    Ok(())
}

fn call_id(fields: &mut Fields) -> Result<String, ApiError> {
    required_text(fields, "call_id")
}

fn required_text(fields: &mut Fields, name: &str) -> Result<String, ApiError> {
    let path = fields.path_of(name);
    let value = fields.require(name)?;
    Ok(text_of_length(&path, &value, 1024)?.to_owned())
}

/// Returns a text, or parts as a chat has them.
fn content(path: &str, value: Value) -> Result<Value, ApiError> {
    match value {
        Value::String(_) => Ok(value),
        Value::Array(parts) => {
            let part = |text: String| json!({ "type": "text", "text": text });
            Ok(texts(path, parts)?.into_iter().map(part).collect())
        }
        other => Err(wrong_type(path, &other, "a string or a list of text parts")),
    }
}

fn texts(path: &str, parts: Vec<Value>) -> Result<Vec<String>, ApiError> {
    let text = |(index, part): (usize, Value)| {
        let mut fields = Fields::from_value(format!("{path}[{index}]"), part)?;
        let kind = fields.string("type")?.ok_or_else(|| fields.missing("type"))?;
        let name = match kind.as_str() {
            "input_text" | "output_text" | "text" | "summary_text" | "reasoning_text" => "text",
            "refusal" => "refusal",
            _ => {
                let path = fields.path_of("type");
                let kind: String = kind.chars().take(64).collect();
                let message = format!("`{path}` is `{kind}`, this model takes only text");
                return Err(ApiError::invalid("unsupported_parameter", path, message));
            }
        };
        fields.string(name)?.ok_or_else(|| fields.missing(name))
    };
    parts.into_iter().enumerate().map(text).collect()
}
