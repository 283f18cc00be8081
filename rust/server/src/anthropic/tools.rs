//! The tools of a request as a chat has them.

use serde_json::{Map, Value, json};

use super::schema::{TOOL, TOOL_CHOICE};
use crate::error::ApiError;
use crate::openai::chat::tools::{Choice, Tools};
use crate::openai::fields::{Fields, wrong_type};
use crate::openai::options::unsupported;
use crate::openai::schema::{Endpoint, check};

/// Takes the fields about tools out of a body.
///
/// # Errors
/// 400, naming the field.
pub(super) fn take(fields: &mut Fields) -> Result<Tools, ApiError> {
    let list = match fields.take("tools") {
        None => Vec::new(),
        Some(Value::Array(list)) => {
            let tool = |(index, value)| tool(format!("tools[{index}]"), value);
            list.into_iter().enumerate().map(tool).collect::<Result<_, _>>()?
        }
        Some(other) => return Err(wrong_type("tools", &other, "a list of objects")),
    };
    let (choice, is_parallel) = choice(fields)?;
    Tools::new(list, choice, is_parallel, "tool_choice")
}

fn tool(path: String, value: Value) -> Result<Value, ApiError> {
    let mut fields = Fields::from_value(path, value)?;
    // A tool that Anthropic runs has other fields; the refusal should name its type.
    match fields.take("type") {
        None => {}
        Some(kind) if kind == "custom" => {}
        Some(kind @ Value::String(_)) => return Err(unsupported(&fields.path_of("type"), &kind, None)),
        Some(other) => return Err(wrong_type(&fields.path_of("type"), &other, "`custom`")),
    }
    check(&mut fields, TOOL, Endpoint::Messages, 0)?;
    let mut function = Map::from_iter([("name".to_owned(), fields.require("name")?)]);
    function.extend(fields.take("description").map(|text| ("description".to_owned(), text)));
    // One without parameters has none; templates walk through them.
    let schema = fields.take("input_schema").unwrap_or_else(|| json!({ "type": "object", "properties": {} }));
    function.insert("parameters".to_owned(), schema);
    function.extend(fields.take("strict").map(|is_strict| ("strict".to_owned(), is_strict)));
    Ok(json!({ "type": "function", "function": function }))
}

/// Reads whether and which tools the answer calls, and whether it may have several calls.
fn choice(fields: &mut Fields) -> Result<(Choice, bool), ApiError> {
    let Some(value) = fields.take("tool_choice") else { return Ok((Choice::Auto, true)) };
    let mut inner = Fields::from_value("tool_choice".to_owned(), value)?;
    check(&mut inner, TOOL_CHOICE, Endpoint::Messages, 0)?;
    let is_parallel = !inner.flag("disable_parallel_tool_use")?;
    let kind = inner.word("type", &["auto", "any", "tool", "none"])?;
    let choice = match kind {
        Some("auto") => Choice::Auto,
        Some("any") => Choice::Required,
        Some("none") => Choice::None,
        Some(_) => Choice::Named(inner.string("name")?.ok_or_else(|| inner.missing("name"))?),
        None => return Err(inner.missing("type")),
    };
    Ok((choice, is_parallel))
}
