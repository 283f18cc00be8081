//! A request for a response, written as a chat.

use std::fmt::Debug;

use serde_json::{Map, Value, json};

use super::items::{add_input, add_kept, items_of};
use super::object::Told;
use super::params::{ENCRYPTED_CONTENT, LOGPROBS, OF_OTHER_ITEMS, REASONING, RESPONSES, TEXT};
use super::tools::{add_tool_choice, add_tools};
use super::translation::Translation;
use crate::error::ApiError;
use crate::openai::chat::request::ChatRequest;
use crate::openai::fields::Fields;
use crate::openai::origins::Origins;
use crate::openai::schema::{Endpoint, check};

/// The stored responses that a request may use.
#[derive(Debug, Clone, Copy)]
pub enum Past<'a> {
    /// Nothing is stored.
    Nothing,
    /// The responses that this finds.
    Kept(&'a dyn Kept),
}

/// Finds the stored responses of one client.
pub trait Kept: Debug {
    /// Returns the input and the output of a response, behind those of the responses before it.
    ///
    /// # Errors
    /// 400 if one of them is missing, or together they exceed the limit of a body.
    fn conversation(&self, response: &str) -> Result<Vec<Value>, ApiError>;
    /// An item of a response, if there is one.
    ///
    /// # Errors
    /// 400, if all that is looked at is longer together than a body may be.
    fn item(&self, id: &str) -> Result<Option<Value>, ApiError>;
}

impl Past<'_> {
    /// See [`Kept::item`].
    pub(super) fn item(self, id: &str) -> Result<Option<Value>, ApiError> {
        match self {
            Self::Nothing => Ok(None),
            Self::Kept(kept) => kept.item(id),
        }
    }

    fn conversation(self, response: &str) -> Result<Vec<Value>, ApiError> {
        match self {
            Self::Nothing => Err(no_store("previous_response_id")),
            Self::Kept(kept) => kept.conversation(response),
        }
    }
}

/// Returns the error of a field that needs the store.
fn no_store(field: &str) -> ApiError {
    let message = format!("`{field}` is not supported, this server keeps no responses");
    ApiError::invalid("unsupported_parameter", field, message)
}

/// A request for a response, checked.
#[derive(Debug)]
pub struct ResponsesRequest {
    /// The translated chat.
    pub chat: ChatRequest,
    /// The names of the chat's fields in this dialect.
    pub origins: Origins,
    /// The parts of the request that the answer repeats.
    pub told: Told,
    /// The items of its own input.
    pub input: Vec<Value>,
}

impl ResponsesRequest {
    /// Reads a body.
    ///
    /// # Errors
    /// 400, naming the field.
    pub fn parse(body: &[u8], vocab_size: usize, past: Past<'_>) -> Result<Self, ApiError> {
        let mut fields = Fields::parse(body)?;
        check(&mut fields, RESPONSES, Endpoint::Chat, vocab_size)?;
        let mut told = Told::take(&mut fields, matches!(past, Past::Kept(_)))?;
        if told.background && !told.store {
            let message = "`background` is only allowed with `store`, on a server that keeps responses";
            return Err(ApiError::invalid("invalid_value", "background", message));
        }
        let mut chat = Translation::default();
        let input = match (fields.take("input"), &told.previous_response_id) {
            (Some(input), _) => items_of(input)?,
            (None, Some(_)) => Vec::new(),
            (None, None) => return Err(fields.missing("input")),
        };
        add_conversation(&mut chat, &told, &input, past)?;
        take_text(&mut chat, &mut fields, &mut told, vocab_size)?;
        take_reasoning(&mut chat, &mut fields, &mut told, vocab_size)?;
        if let Some(tools) = fields.take("tools") {
            told.tools = add_tools(&mut chat, tools)?;
        }
        if let Some(choice) = fields.take("tool_choice") {
            told.tool_choice = choice.clone();
            add_tool_choice(&mut chat, choice)?;
        }
        take_include(&mut chat, &mut fields, &mut told)?;
        take_limits(&mut chat, &mut fields, &mut told)?;
        let rest = fields.into_rest();
        told.parallel_tool_calls = rest.get("parallel_tool_calls").is_none_or(|value| value == true);
        let number = |name: &str| rest.get(name).and_then(Value::as_f64);
        (told.temperature, told.top_p) = (number("temperature"), number("top_p"));
        // Explicit fields win over translated ones.
        chat.body.extend(rest);
        let (body, origins) = chat.finish("input");
        let mut chat = ChatRequest::take(&mut Fields::from_value(String::new(), body.into())?, vocab_size)
            .map_err(|error| origins.name(error))?;
        if let Some(asked) = &mut chat.options.asked {
            asked.field = origins.own(&asked.field).unwrap_or_else(|| asked.field.clone());
        }
        Ok(Self { chat, origins, told, input })
    }
}

/// Adds the messages: instructions, the stored conversation, and the input.
fn add_conversation(
    chat: &mut Translation,
    told: &Told,
    input: &[Value],
    past: Past<'_>,
) -> Result<(), ApiError> {
    let instructions = told.instructions.as_deref().filter(|text| !text.is_empty());
    if let Some(text) = instructions {
        chat.add_system("system", text, "instructions");
    }
    let kept = match &told.previous_response_id {
        Some(id) => past.conversation(id)?,
        None => Vec::new(),
    };
    add_kept(chat, &kept, "previous_response_id")?;
    add_input(chat, input, past)
}

/// Takes `text`, the format of the answer.
fn take_text(
    chat: &mut Translation,
    fields: &mut Fields,
    told: &mut Told,
    vocab_size: usize,
) -> Result<(), ApiError> {
    let Some(text) = fields.take("text") else { return Ok(()) };
    let mut text = Fields::from_value("text".to_owned(), text)?;
    check(&mut text, TEXT, Endpoint::Chat, vocab_size)?;
    let Some(format) = text.take("format") else { return Ok(()) };
    let mut format = Fields::from_value("text.format".to_owned(), format)?;
    let kind = format.string("type")?.ok_or_else(|| format.missing("type"))?;
    let rest = format.into_rest();
    told.format = with_type(&kind, rest.clone());
    let asked = if kind == "json_schema" {
        json!({ "type": kind, "json_schema": rest })
    } else {
        with_type(&kind, rest)
    };
    chat.set("response_format", asked, "text.format");
    chat.origins.add("response_format.json_schema", "text.format");
    Ok(())
}

fn with_type(kind: &str, rest: Map<String, Value>) -> Value {
    let mut object = Map::from_iter([("type".to_owned(), kind.into())]);
    object.extend(rest);
    object.into()
}

fn take_reasoning(
    chat: &mut Translation,
    fields: &mut Fields,
    told: &mut Told,
    vocab_size: usize,
) -> Result<(), ApiError> {
    let Some(reasoning) = fields.take("reasoning") else { return Ok(()) };
    let mut reasoning = Fields::from_value("reasoning".to_owned(), reasoning)?;
    check(&mut reasoning, REASONING, Endpoint::Chat, vocab_size)?;
    for name in ["summary", "generate_summary"] {
        if let Some(word) = word(&mut reasoning, name, &["auto", "concise", "detailed"])? {
            told.summary.get_or_insert(word);
        }
    }
    if let Some(effort) = reasoning.take("effort") {
        told.effort = effort.as_str().map(str::to_owned);
        chat.set("reasoning_effort", effort, "reasoning.effort");
    }
    Ok(())
}

/// Returns one of these words.
fn word(fields: &mut Fields, name: &str, words: &[&str]) -> Result<Option<String>, ApiError> {
    let Some(word) = fields.string(name)? else { return Ok(None) };
    if words.contains(&&*word) {
        return Ok(Some(word));
    }
    let (path, word) = (fields.path_of(name), word.chars().take(64).collect::<String>());
    let known: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
    let message = format!("`{path}` is `{word}`, it must be one of {}", known.join(", "));
    Err(ApiError::invalid("invalid_value", path, message))
}

fn take_include(chat: &mut Translation, fields: &mut Fields, told: &mut Told) -> Result<(), ApiError> {
    let list = fields.take("include");
    for (index, value) in list.iter().flat_map(|list| list.as_array().into_iter().flatten()).enumerate() {
        match value.as_str().unwrap_or_default() {
            LOGPROBS => told.has_logprobs = true,
            ENCRYPTED_CONTENT => told.has_encrypted_content = true,
            word if OF_OTHER_ITEMS.contains(&word) => {}
            word => {
                let path = format!("include[{index}]");
                let message = format!("`{path}` is `{word}`, which is not known");
                return Err(ApiError::invalid("invalid_value", path, message));
            }
        }
    }
    let top = fields.take("top_logprobs");
    told.top_logprobs = top.as_ref().and_then(Value::as_u64).unwrap_or_default();
    if told.has_logprobs {
        chat.set("logprobs", true.into(), "include");
        chat.set("top_logprobs", told.top_logprobs.into(), "top_logprobs");
    } else if told.top_logprobs > 0 {
        let message = format!("`top_logprobs` is only allowed with `{LOGPROBS}` in `include`");
        return Err(ApiError::invalid("invalid_value", "top_logprobs", message));
    }
    Ok(())
}

fn take_limits(chat: &mut Translation, fields: &mut Fields, told: &mut Told) -> Result<(), ApiError> {
    // Fields that errors of a chat name, whether they were sent or not.
    for name in ["max_tokens", "max_completion_tokens"] {
        chat.origins.add(name, "max_output_tokens");
    }
    if let Some(count) = fields.take("max_output_tokens") {
        told.max_output_tokens = count.as_u64();
        chat.body.insert("max_completion_tokens".to_owned(), count);
    }
    if let Some(word) = word(fields, "truncation", &["auto", "disabled"])? {
        if word == "auto" {
            chat.set("truncate_prompt_tokens", (-1).into(), "truncation");
        }
        told.truncation = word;
    }
    Ok(())
}
