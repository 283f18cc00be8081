//! A chat request and its conversation.

use serde_json::{Map, Value};

use crate::error::ApiError;
use crate::openai::fields::{Fields, wrong_type};
use crate::openai::options::{Options, unsupported};

/// A chat request, checked.
#[derive(Debug, PartialEq)]
pub struct ChatRequest {
    /// The conversation as chat templates take it: `role` and `content`, both strings.
    pub messages: Vec<Value>,
    /// Whether the prompt ends where the assistant's answer begins.
    pub add_generation_prompt: bool,
    /// All else.
    pub options: Options,
}

impl ChatRequest {
    /// Reads a body.
    ///
    /// # Errors
    /// 400, naming the field.
    pub fn parse(body: &[u8], vocab_size: usize) -> Result<Self, ApiError> {
        let mut fields = Fields::parse(body)?;
        let options = Options::take(&mut fields, vocab_size)?;
        if fields.flag("echo")? {
            return Err(unsupported("echo", &true.into()));
        }
        let add_generation_prompt = fields.flag_or("add_generation_prompt", true)?;
        Ok(Self { messages: conversation(fields.require("messages")?)?, add_generation_prompt, options })
    }
}

/// Checks a list of messages and brings each to the form that templates know.
///
/// # Errors
/// 400, naming the message and the field.
pub fn conversation(messages: Value) -> Result<Vec<Value>, ApiError> {
    match messages {
        Value::Array(list) if list.is_empty() => Err(ApiError::invalid(
            "invalid_value",
            "messages",
            "`messages` is empty, it must have at least one message",
        )),
        Value::Array(list) => {
            list.into_iter().enumerate().map(|(index, value)| message(index, value)).collect()
        }
        other => Err(wrong_type("messages", &other, "a list of messages")),
    }
}

fn message(index: usize, value: Value) -> Result<Value, ApiError> {
    let mut fields = Fields::from_value(format!("messages[{index}]"), value)?;
    let role = role(&mut fields)?;
    if let Some(calls) =
        fields.take("tool_calls").filter(|calls| calls.as_array().is_none_or(|list| !list.is_empty()))
    {
        return Err(unsupported(&fields.path_of("tool_calls"), &calls));
    }
    let content = content(&mut fields)?;
    let mut message = Map::new();
    message.insert("role".to_owned(), role.into());
    if let Some(name) = fields.string("name")? {
        message.insert("name".to_owned(), name.into());
    }
    message.insert("content".to_owned(), content.into());
    Ok(Value::Object(message))
}

/// `developer` is the newer name of `system`; templates know only the older.
fn role(fields: &mut Fields) -> Result<&'static str, ApiError> {
    let path = fields.path_of("role");
    let role = fields.string("role")?.ok_or_else(|| fields.missing("role"))?;
    match &*role {
        "system" | "developer" => Ok("system"),
        "user" => Ok("user"),
        "assistant" => Ok("assistant"),
        "tool" | "function" => Err(unsupported(&path, &role.into())),
        _ => {
            let message =
                format!("`{path}` is `{role}`, it must be `system`, `developer`, `user` or `assistant`");
            Err(ApiError::invalid("invalid_value", path, message))
        }
    }
}

/// A string, or text parts that are joined by line breaks, as vLLM joins them.
fn content(fields: &mut Fields) -> Result<String, ApiError> {
    let path = fields.path_of("content");
    match fields.require("content")? {
        Value::String(text) => Ok(text),
        Value::Array(parts) => {
            let texts: Result<Vec<_>, _> = parts
                .into_iter()
                .enumerate()
                .map(|(index, part)| text_part(format!("{path}[{index}]"), part))
                .collect();
            Ok(texts?.join("\n"))
        }
        other => Err(wrong_type(&path, &other, "a string or a list of text parts")),
    }
}

fn text_part(path: String, part: Value) -> Result<String, ApiError> {
    let mut fields = Fields::from_value(path, part)?;
    let path = fields.path_of("type");
    let kind = fields.string("type")?.ok_or_else(|| fields.missing("type"))?;
    if kind != "text" {
        let message = format!("`{path}` is `{kind}`, this model takes only `text`");
        return Err(ApiError::invalid("unsupported_parameter", path, message));
    }
    fields.string("text")?.ok_or_else(|| fields.missing("text"))
}
