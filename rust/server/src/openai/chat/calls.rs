//! The calls of earlier answers, in the form that templates know.

use std::cell::Cell;

use serde_json::{Map, Value, json};

use super::tools::with_function;
use crate::error::ApiError;
use crate::openai::fields::{Fields, wrong_type};
use crate::openai::json::parse_nested_object;
use crate::openai::schema::tool::{CALL, CALLED};
use crate::openai::schema::{Endpoint, check};

/// Brings the calls of a message to the form that templates know: `tool_calls`, with arguments as
/// objects; none are left out. Arguments in all messages share `values_left`.
///
/// # Errors
/// 400, naming the field.
pub(super) fn read_calls(
    message: &mut Map<String, Value>,
    path: &str,
    values_left: &Cell<usize>,
) -> Result<(), ApiError> {
    let called = |path: String, value: Value| called(path, value, values_left);
    let older = message.shift_remove("function_call");
    match message.get_mut("tool_calls").map(Value::take) {
        Some(Value::Array(list)) if !list.is_empty() => {
            let call =
                |(index, value)| with_function(format!("{path}.tool_calls[{index}]"), value, CALL, called);
            let calls: Result<Vec<_>, _> = list.into_iter().enumerate().map(call).collect();
            message.insert("tool_calls".to_owned(), calls?.into());
            return Ok(());
        }
        _ => message.shift_remove("tool_calls"),
    };
    if let Some(value) = older {
        let function = called(format!("{path}.function_call"), value)?;
        message.insert("tool_calls".to_owned(), json!([{ "type": "function", "function": function }]));
    }
    Ok(())
}

fn called(path: String, value: Value, values_left: &Cell<usize>) -> Result<Value, ApiError> {
    let mut fields = Fields::from_value(path, value)?;
    check(&mut fields, CALLED, Endpoint::Chat, 0)?;
    if fields.get("name").is_none() {
        return Err(fields.missing("name"));
    }
    let path = fields.path_of("arguments");
    let mut function = fields.into_rest();
    let arguments = match function.get_mut("arguments").map(Value::take) {
        None => Map::new(),
        Some(Value::Object(arguments)) => arguments,
        // Some clients send an empty text for no arguments.
        Some(Value::String(text)) if text.trim().is_empty() => Map::new(),
        Some(Value::String(text)) => parse_nested_object(&text, values_left).map_err(|reason| {
            let message = format!("`{path}` is not an object in JSON: {reason}");
            ApiError::invalid("invalid_value", path, message)
        })?,
        Some(other) => return Err(wrong_type(&path, &other, "an object, as JSON in a string")),
    };
    function.insert("arguments".to_owned(), arguments.into());
    Ok(function.into())
}
