//! A chat request and its conversation.

use std::cell::Cell;

use serde_json::{Map, Value};

use super::calls::read_calls;
use super::tools::Tools;
pub use crate::asked::ChatRequest;
use crate::error::ApiError;
use crate::openai::fields::{Fields, wrong_type};
use crate::openai::json::MAX_VALUES;
use crate::openai::options::Options;
use crate::openai::schema::message::MESSAGE;
use crate::openai::schema::{Endpoint, check};
pub use crate::text::Conversation;
use crate::text::PromptEnd;

/// Variables of every template that come from other fields, or from the model.
const OWN_VARIABLES: [&str; 7] = [
    "messages",
    "tools",
    "documents",
    "add_generation_prompt",
    "continue_final_message",
    "raise_exception",
    "strftime_now",
];

impl ChatRequest {
    /// Reads a body.
    ///
    /// # Errors
    /// 400, naming the field.
    pub fn parse(body: &[u8], vocab_size: usize) -> Result<Self, ApiError> {
        Self::take(&mut Fields::parse(body)?, vocab_size)
    }

    /// Takes the fields out of a body.
    ///
    /// # Errors
    /// 400, naming the field.
    pub fn take(fields: &mut Fields, vocab_size: usize) -> Result<Self, ApiError> {
        let options = Options::take(fields, Endpoint::Chat, vocab_size)?;
        let messages = fields.require("messages")?;
        let tools = Tools::take(fields)?;
        let conversation = Conversation::take(fields, messages, tools.list.clone())?;
        Ok(Self { conversation, tools, options })
    }
}

impl Conversation {
    /// Takes what belongs to these messages and tools out of a body.
    ///
    /// # Errors
    /// 400, naming the field.
    pub fn take(fields: &mut Fields, messages: Value, tools: Vec<Value>) -> Result<Self, ApiError> {
        let mut variables = take_variables(fields)?;
        if let Some(effort) = fields.string("reasoning_effort")? {
            // For templates that know no degrees; as in vLLM.
            variables.entry("enable_thinking").or_insert((effort != "none").into());
            variables.entry("reasoning_effort").or_insert(effort.into());
        }
        Ok(Self { messages: conversation(messages)?, tools, end: take_prompt_end(fields)?, variables })
    }
}

/// Takes the variables of the template out of a body.
///
/// # Errors
/// 400, naming the field.
pub fn take_variables(fields: &mut Fields) -> Result<Map<String, Value>, ApiError> {
    match fields.take("chat_template_kwargs") {
        None => Ok(Map::new()),
        Some(Value::Object(variables)) => {
            variables.keys().try_for_each(|name| check_variable(name))?;
            Ok(variables)
        }
        Some(other) => Err(wrong_type("chat_template_kwargs", &other, "an object")),
    }
}

/// Refuses a variable that would override checked fields, or a special token such as `bos_token`.
fn check_variable(name: &str) -> Result<(), ApiError> {
    if !OWN_VARIABLES.contains(&name) && !name.ends_with("_token") {
        return Ok(());
    }
    let path = format!("chat_template_kwargs.{name}");
    let message = format!("`{path}` is not allowed, the template has a variable of this name already");
    Err(ApiError::invalid("invalid_value", path, message))
}

fn take_prompt_end(fields: &mut Fields) -> Result<PromptEnd, ApiError> {
    let continues = fields.flag("continue_final_message")?;
    match (continues, fields.flag_or("add_generation_prompt", !continues)?) {
        (false, false) => Ok(PromptEnd::LastMessage),
        (false, true) => Ok(PromptEnd::Answer),
        (true, false) => Ok(PromptEnd::InsideLastMessage),
        (true, true) => {
            let message = "`continue_final_message` is not allowed with `add_generation_prompt`";
            Err(ApiError::invalid("invalid_value", "continue_final_message", message))
        }
    }
}

/// Checks a list of messages and brings each to the form that templates know.
fn conversation(messages: Value) -> Result<Vec<Value>, ApiError> {
    match messages {
        Value::Array(list) if list.is_empty() => Err(ApiError::invalid(
            "invalid_value",
            "messages",
            "`messages` is empty, it must have at least one message",
        )),
        Value::Array(list) => {
            let values_left = Cell::new(MAX_VALUES);
            let message = |(index, value)| message(index, value, &values_left);
            list.into_iter().enumerate().map(message).collect()
        }
        other => Err(wrong_type("messages", &other, "a list of messages")),
    }
}

/// Reads a message: its text in one piece, its calls as objects, and all else as it is.
fn message(index: usize, value: Value, values_left: &Cell<usize>) -> Result<Value, ApiError> {
    let mut fields = Fields::from_value(format!("messages[{index}]"), value)?;
    // It has no token ids, so their number does not matter.
    check(&mut fields, MESSAGE, Endpoint::Chat, 0)?;
    let role = fields.get("role").and_then(Value::as_str).ok_or_else(|| fields.missing("role"))?;
    // An assistant that called tools may have no content, and the template checks other roles.
    if ["system", "developer", "user"].contains(&role) && fields.get("content").is_none() {
        return Err(fields.missing("content"));
    }
    let mut message = fields.into_rest();
    let path = format!("messages[{index}]");
    let content = message.get_mut("content").map(|content| text(&format!("{path}.content"), content.take()));
    message.insert("content".to_owned(), content.transpose()?.unwrap_or_default().into());
    read_calls(&mut message, &path, values_left)?;
    Ok(Value::Object(message))
}

/// Returns a string, or text parts that are joined by line breaks, as vLLM joins them.
fn text(path: &str, content: Value) -> Result<String, ApiError> {
    match content {
        Value::String(text) => Ok(text),
        Value::Array(parts) => {
            let texts: Result<Vec<_>, _> = parts
                .into_iter()
                .enumerate()
                .map(|(index, part)| text_part(format!("{path}[{index}]"), part))
                .collect();
            Ok(texts?.join("\n"))
        }
        other => Err(wrong_type(path, &other, "a string or a list of text parts")),
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
