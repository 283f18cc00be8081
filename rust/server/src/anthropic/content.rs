//! Messages and their blocks → messages as templates know them.

use serde_json::{Map, Value, json};

use super::schema::{BLOCKS, MESSAGE};
use crate::error::ApiError;
use crate::openai::fields::{Fields, wrong_type};
use crate::openai::options::unsupported;
use crate::openai::schema::{Endpoint, check};
use crate::text::PromptEnd;

/// The line that Claude Code puts before its system prompt, for Anthropic's accounts, with a number
/// that changes with each request.
const BILLING: &str = "x-anthropic-billing-header:";

/// Returns the messages of a conversation as templates know them, and where its prompt ends.
///
/// # Errors
/// 400, naming the field.
pub(super) fn conversation(
    system: Option<Value>,
    messages: Value,
) -> Result<(Vec<Value>, PromptEnd), ApiError> {
    let list = match messages {
        Value::Array(list) if list.is_empty() => {
            let message = "`messages` is empty, it must have at least one message";
            return Err(ApiError::invalid("invalid_value", "messages", message));
        }
        Value::Array(list) => list,
        other => return Err(wrong_type("messages", &other, "a list of messages")),
    };
    let last = list.len() - 1;
    let mut turns = Turns::default();
    if let Some(system) = system {
        let mut texts = texts("system", system)?;
        texts.retain(|text| !text.starts_with(BILLING));
        if !texts.is_empty() {
            turns.of("system").texts = texts;
        }
    }
    for (index, message) in list.into_iter().enumerate() {
        turns.take(&format!("messages[{index}]"), message)?;
    }
    turns.end(last)
}

/// Returns a text, or the texts of a list of blocks of text.
fn texts(path: &str, content: Value) -> Result<Vec<String>, ApiError> {
    match content {
        Value::String(text) => Ok(vec![text]),
        Value::Array(list) => {
            let text = |(index, block)| {
                let mut block = Block::take(format!("{path}[{index}]"), block)?;
                if block.kind == "text" { block.text("text") } else { Err(block.refused()) }
            };
            list.into_iter().enumerate().map(text).collect()
        }
        other => Err(wrong_type(path, &other, "a string or a list of blocks")),
    }
}

/// Consecutive messages of one role.
#[derive(Debug, Default)]
struct Turn {
    role: &'static str,
    texts: Vec<String>,
    thoughts: Vec<String>,
    calls: Vec<Value>,
}

impl Turn {
    fn is_empty(&self) -> bool {
        self.texts.iter().all(String::is_empty) && self.thoughts.is_empty() && self.calls.is_empty()
    }

    fn into_message(self) -> Value {
        let mut message =
            Map::from_iter([("role".into(), self.role.into()), ("content".into(), joined(&self.texts))]);
        if !self.thoughts.is_empty() {
            message.insert("reasoning_content".to_owned(), joined(&self.thoughts));
        }
        if !self.calls.is_empty() {
            message.insert("tool_calls".to_owned(), self.calls.into());
        }
        message.into()
    }
}

fn joined(texts: &[String]) -> Value {
    texts.join("\n").into()
}

/// The messages so far, and the turn that may yet go on.
#[derive(Debug, Default)]
struct Turns {
    messages: Vec<Value>,
    current: Option<Turn>,
}

impl Turns {
    /// Returns the turn of a role.
    fn of(&mut self, role: &'static str) -> &mut Turn {
        if self.current.as_ref().is_none_or(|turn| turn.role != role) {
            self.close();
        }
        self.current.get_or_insert_with(|| Turn { role, ..Turn::default() })
    }

    fn close(&mut self) {
        self.messages.extend(self.current.take().map(Turn::into_message));
    }

    fn take(&mut self, path: &str, message: Value) -> Result<(), ApiError> {
        let mut fields = Fields::from_value(path.to_owned(), message)?;
        check(&mut fields, MESSAGE, Endpoint::Messages, 0)?;
        let role = role(&mut fields)?;
        let path = fields.path_of("content");
        match fields.require("content")? {
            Value::Array(list) if !list.is_empty() => {
                let blocks = list.into_iter().enumerate();
                blocks
                    .map(|(index, block)| Block::take(format!("{path}[{index}]"), block))
                    .try_for_each(|block| self.take_block(role, block?))
            }
            content => {
                let texts = texts(&path, content)?;
                self.of(role).texts.extend(texts);
                Ok(())
            }
        }
    }

    fn take_block(&mut self, role: &'static str, mut block: Block) -> Result<(), ApiError> {
        match (&*block.kind, role) {
            ("text", _) => {
                let text = block.text("text")?;
                self.of(role).texts.push(text);
            }
            ("tool_result", "user") => {
                self.close();
                self.messages.push(block.result()?);
            }
            ("tool_use", "assistant") => {
                let call = block.call()?;
                self.of(role).calls.push(call);
            }
            ("thinking", "assistant") => {
                let thought = block.text("thinking")?;
                self.of(role).thoughts.push(thought);
            }
            ("redacted_thinking", "assistant") => {}
            _ => return Err(block.misplaced(role)),
        }
        Ok(())
    }

    /// Returns all messages. The model continues the last one if it is the assistant's.
    fn end(mut self, last: usize) -> Result<(Vec<Value>, PromptEnd), ApiError> {
        let is_begun = match &self.current {
            Some(turn) if turn.role == "assistant" && !turn.calls.is_empty() => {
                let path = format!("messages[{last}].content");
                let message = format!("`{path}` ends with a `tool_use` that has no `tool_result`");
                return Err(ApiError::invalid("invalid_value", path, message));
            }
            Some(turn) => turn.role == "assistant" && !turn.is_empty(),
            None => false,
        };
        if !is_begun && self.current.as_ref().is_some_and(|turn| turn.role == "assistant") {
            self.current = None;
        }
        self.close();
        Ok((self.messages, if is_begun { PromptEnd::InsideLastMessage } else { PromptEnd::Answer }))
    }
}

fn role(fields: &mut Fields) -> Result<&'static str, ApiError> {
    const ROLES: [&str; 3] = ["user", "assistant", "system"];
    let role = fields.string("role")?.ok_or_else(|| fields.missing("role"))?;
    ROLES.into_iter().find(|known| *known == role).ok_or_else(|| {
        let (path, role) = (fields.path_of("role"), role.chars().take(64).collect::<String>());
        let message = format!("`{path}` is `{role}`, it must be `user`, `assistant` or `system`");
        ApiError::invalid("invalid_value", path, message)
    })
}

/// A block of a message, checked by the table of its type.
struct Block {
    kind: String,
    fields: Fields,
}

impl Block {
    fn take(path: String, block: Value) -> Result<Self, ApiError> {
        let mut fields = Fields::from_value(path, block)?;
        let kind = fields.string("type")?.ok_or_else(|| fields.missing("type"))?;
        let params = BLOCKS.into_iter().find_map(|(known, params)| (known == kind).then_some(params));
        check(&mut fields, params.unwrap_or(&[]), Endpoint::Messages, 0)?;
        Ok(Self { kind, fields })
    }

    /// Returns the error of a block that does not belong here.
    fn refused(self) -> ApiError {
        unsupported(&self.fields.path_of("type"), &self.kind.into(), None)
    }

    /// Returns the error of a block that only another role may have.
    fn misplaced(self, role: &str) -> ApiError {
        if !BLOCKS.into_iter().any(|(known, _)| known == self.kind) {
            return self.refused();
        }
        let path = self.fields.path_of("type");
        let message =
            format!("`{path}` is `{}`, which does not belong into a message of `{role}`", self.kind);
        ApiError::invalid("invalid_value", path, message)
    }

    fn text(&mut self, name: &str) -> Result<String, ApiError> {
        self.fields.string(name)?.ok_or_else(|| self.fields.missing(name))
    }

    /// Returns an entry of `tool_calls`.
    fn call(&mut self) -> Result<Value, ApiError> {
        let (id, name) = (self.fields.take("id"), self.text("name")?);
        let arguments = self.fields.take("input").unwrap_or_else(|| json!({}));
        // The order of fields in a chat's messages.
        let mut call: Map<_, _> = id.map(|id| ("id".to_owned(), id)).into_iter().collect();
        call.insert("type".to_owned(), "function".into());
        call.insert("function".to_owned(), json!({ "name": name, "arguments": arguments }));
        Ok(call.into())
    }

    /// Returns the message of a tool.
    fn result(&mut self) -> Result<Value, ApiError> {
        let id = self.text("tool_use_id")?;
        let path = self.fields.path_of("content");
        let texts = self.fields.take("content").map_or(Ok(Vec::new()), |content| texts(&path, content))?;
        Ok(json!({ "role": "tool", "tool_call_id": id, "content": joined(&texts) }))
    }
}
