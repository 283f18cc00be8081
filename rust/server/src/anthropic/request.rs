//! A body of `/v1/messages` → the request that a chat makes.

use serde_json::{Map, Value};

use super::content::conversation;
use super::schema::{FORMAT, OUTPUT_CONFIG, THINKING, params, shared};
use super::tools;
use crate::error::ApiError;
use crate::openai::chat::request::{ChatRequest, take_variables};
use crate::openai::fields::Fields;
use crate::openai::options::{Options, unsupported};
use crate::openai::schema::{Endpoint, check};
use crate::openai::structured::{Asked, json_node};
use crate::text::Conversation;

/// Reads the body of a request for an answer.
///
/// # Errors
/// 400, naming the field.
pub fn parse(body: &[u8], vocab_size: usize) -> Result<ChatRequest, ApiError> {
    let mut fields = Fields::parse(body)?;
    if fields.get("max_tokens").is_none() {
        return Err(fields.missing("max_tokens"));
    }
    take(&mut fields, vocab_size)
}

/// Reads the body of a request that counts its prompt's tokens, with the same refusals.
///
/// # Errors
/// 400, naming the field.
pub fn parse_count(body: &[u8], vocab_size: usize) -> Result<ChatRequest, ApiError> {
    take(&mut Fields::parse(body)?, vocab_size)
}

/// Takes the fields out of a body.
///
/// # Errors
/// 400, naming the field.
pub fn take(fields: &mut Fields, vocab_size: usize) -> Result<ChatRequest, ApiError> {
    check(fields, params(), Endpoint::Messages, vocab_size)?;
    let mut variables = take_variables(fields)?;
    let mut options = take_options(fields, vocab_size)?;
    let messages = fields.require("messages")?;
    let (messages, end) = conversation(fields.take("system"), messages)?;
    let tools = tools::take(fields)?;
    take_thinking(fields, &mut variables, &mut options)?;
    options.asked = take_output_config(fields, &mut variables)?;
    let conversation = Conversation { messages, tools: tools.list.clone(), end, variables };
    Ok(ChatRequest { conversation, tools, options })
}

/// Takes the options that chat has under the same or other names.
fn take_options(fields: &mut Fields, vocab_size: usize) -> Result<Options, ApiError> {
    let names = shared().map(|param| (param.name, param.name));
    let names = names.chain([("max_tokens", "max_tokens"), ("stop_sequences", "stop")]);
    let known = names.filter_map(|(ours, of_chat)| Some((of_chat.to_owned(), fields.take(ours)?)));
    let mut known = Fields::from_value(String::new(), Value::Object(known.collect()))?;
    let options = Options::take(&mut known, Endpoint::Chat, vocab_size)?;
    Ok(Options { caps_max_tokens: true, ..options })
}

fn take_thinking(
    fields: &mut Fields,
    variables: &mut Map<String, Value>,
    options: &mut Options,
) -> Result<(), ApiError> {
    let Some(value) = fields.take("thinking") else { return Ok(()) };
    let mut inner = Fields::from_value("thinking".to_owned(), value)?;
    check(&mut inner, THINKING, Endpoint::Messages, 0)?;
    let kind = inner.word("type", &["enabled", "adaptive", "between_tools", "disabled"])?;
    let kind = kind.ok_or_else(|| inner.missing("type"))?;
    variables.entry("enable_thinking").or_insert((kind != "disabled").into());
    options.thinking_token_budget = inner.count("budget_tokens");
    if let Some(budget) = options.thinking_token_budget {
        variables.entry("thinking_budget").or_insert(budget.into());
    }
    options.details.hides_reasoning = inner.word("display", &["summarized", "omitted"])? == Some("omitted");
    Ok(())
}

fn take_output_config(
    fields: &mut Fields,
    variables: &mut Map<String, Value>,
) -> Result<Option<Asked>, ApiError> {
    let older = take_format(fields, "output_format")?;
    let Some(value) = fields.take("output_config") else { return Ok(older) };
    let mut inner = Fields::from_value("output_config".to_owned(), value)?;
    check(&mut inner, OUTPUT_CONFIG, Endpoint::Messages, 0)?;
    if let Some(effort) = inner.take("effort") {
        variables.entry("reasoning_effort").or_insert(effort);
    }
    match (take_format(&mut inner, "format")?, older) {
        (Some(asked), Some(_)) => {
            let message = "`output_format` is not allowed with `output_config.format`";
            Err(ApiError::invalid("invalid_value", asked.field, message))
        }
        (asked, older) => Ok(asked.or(older)),
    }
}

fn take_format(fields: &mut Fields, name: &str) -> Result<Option<Asked>, ApiError> {
    let Some(value) = fields.take(name) else { return Ok(None) };
    let mut inner = Fields::from_value(fields.path_of(name), value)?;
    let kind = inner.string("type")?.ok_or_else(|| inner.missing("type"))?;
    if kind != "json_schema" {
        return Err(unsupported(&inner.path_of("type"), &kind.into(), None));
    }
    check(&mut inner, FORMAT, Endpoint::Messages, 0)?;
    let (schema, field) = (inner.require("schema")?, inner.path_of("schema"));
    Ok(Some(Asked { node: json_node(&field, schema)?, field }))
}
