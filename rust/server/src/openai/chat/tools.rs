//! The tools of a request, and whether its answer may call them.

use serde_json::{Map, Value, json};
use streamcore_parsers::Tool;

use crate::error::ApiError;
use crate::openai::fields::{Fields, wrong_type};
use crate::openai::options::unsupported;
use crate::openai::schema::tool::{FUNCTION, TOOL};
use crate::openai::schema::{Endpoint, Param, check};

/// The tools of a request.
#[derive(Debug, Default, PartialEq)]
pub struct Tools {
    /// For the template: each with `type` and `function`, and what else the client has given.
    pub list: Vec<Value>,
    /// There are some, and the answer may call them.
    pub may_be_called: bool,
}

impl Tools {
    /// Takes what says something of tools out of a body. Newer names win over older ones.
    ///
    /// # Errors
    /// 400, naming the field.
    pub fn take(fields: &mut Fields) -> Result<Self, ApiError> {
        let is_parallel = fields.flag_or("parallel_tool_calls", true)?;
        let may_call = take_choice(fields)?;
        let tools = take_list(fields, "tools", tool)?;
        let functions = take_list(fields, "functions", |path, value| {
            Ok(json!({ "type": "function", "function": function(path, value)? }))
        })?;
        let (list, place) =
            if tools.is_empty() { (functions, ["functions", ""]) } else { (tools, ["tools", ".function"]) };
        let may_be_called = may_call && !list.is_empty();
        if may_be_called && !is_parallel {
            return Err(not_yet("parallel_tool_calls", &json!(false), "an answer is not held to one call"));
        }
        let strict = list.iter().position(|tool| tool["function"]["strict"] == true);
        match strict.filter(|_| may_be_called) {
            None => Ok(Self { list, may_be_called }),
            Some(index) => {
                let path = format!("{}[{index}]{}.strict", place[0], place[1]);
                Err(not_yet(&path, &json!(true), "arguments are not held to their schema"))
            }
        }
    }
}

/// These tools as a reader of answers needs them.
#[must_use]
pub fn declared(tools: &[Value]) -> Vec<Tool> {
    let declared = |tool: &Value| {
        let function = &tool["function"];
        let name = function["name"].as_str()?.to_owned();
        Some(Tool { name, parameters: function.get("parameters").cloned() })
    };
    tools.iter().filter_map(declared).collect()
}

/// The error of a value that asks for more than can be promised.
fn not_yet(path: &str, value: &Value, why: &str) -> ApiError {
    match unsupported(path, value, None) {
        ApiError::Invalid { code, param, message } => {
            ApiError::Invalid { code, param, message: format!("{message}: {why} yet") }
        }
        other => other,
    }
}

/// Whether the answer may call tools, as far as `tool_choice` says.
fn take_choice(fields: &mut Fields) -> Result<bool, ApiError> {
    const NAMES: [&str; 2] = ["tool_choice", "function_call"];
    const WHY: &str = "an answer cannot be forced to be a call";
    let [newer, older] = NAMES.map(|name| fields.take(name));
    let (name, choice) = if newer.is_some() { (NAMES[0], newer) } else { (NAMES[1], older) };
    match choice {
        None => Ok(true),
        Some(Value::String(word)) => match word.as_str() {
            "auto" => Ok(true),
            "none" => Ok(false),
            "required" => Err(not_yet(name, &word.into(), WHY)),
            _ => {
                let word: String = word.chars().take(64).collect();
                let message = format!("`{name}` is `{word}`, it must be `auto` or `none`");
                Err(ApiError::invalid("invalid_value", name, message))
            }
        },
        Some(Value::Object(choice)) => {
            let what = match choice.get("type").and_then(Value::as_str) {
                Some("allowed_tools") => "with `allowed_tools`",
                _ => "with the name of a function",
            };
            let message = format!("`{name}` {what} is not supported: {WHY} yet");
            Err(ApiError::invalid("unsupported_parameter", name, message))
        }
        Some(other) => Err(wrong_type(name, &other, "`auto` or `none`")),
    }
}

fn take_list(
    fields: &mut Fields,
    name: &str,
    entry: impl Fn(String, Value) -> Result<Value, ApiError>,
) -> Result<Vec<Value>, ApiError> {
    match fields.take(name) {
        None => Ok(Vec::new()),
        Some(Value::Array(list)) => {
            let entry = |(index, value)| entry(format!("{name}[{index}]"), value);
            list.into_iter().enumerate().map(entry).collect()
        }
        Some(other) => Err(wrong_type(name, &other, "a list of objects")),
    }
}

fn tool(path: String, value: Value) -> Result<Value, ApiError> {
    with_function(path, value, TOOL, function)
}

/// An object whose `type` is or becomes `function`, with what is made of its `function`.
pub(super) fn with_function(
    path: String,
    value: Value,
    params: &'static [Param],
    function: impl Fn(String, Value) -> Result<Value, ApiError>,
) -> Result<Value, ApiError> {
    let mut fields = Fields::from_value(path, value)?;
    check(&mut fields, params, Endpoint::Chat, 0)?;
    match fields.get("type") {
        None => {}
        Some(kind) if kind == "function" => {}
        Some(kind @ Value::String(_)) => return Err(unsupported(&fields.path_of("type"), kind, None)),
        Some(other) => return Err(wrong_type(&fields.path_of("type"), other, "`function`")),
    }
    let inner = fields.get("function").cloned().ok_or_else(|| fields.missing("function"))?;
    let inner = function(fields.path_of("function"), inner)?;
    let mut object = fields.into_rest();
    object.insert("function".to_owned(), inner);
    if object.contains_key("type") {
        return Ok(object.into());
    }
    // Templates may look at it, and it comes first where clients write it.
    let mut typed = Map::from_iter([("type".to_owned(), "function".into())]);
    typed.extend(object);
    Ok(typed.into())
}

fn function(path: String, value: Value) -> Result<Value, ApiError> {
    let mut fields = Fields::from_value(path, value)?;
    check(&mut fields, FUNCTION, Endpoint::Chat, 0)?;
    if fields.get("name").is_none() {
        return Err(fields.missing("name"));
    }
    let mut function = fields.into_rest();
    // One without parameters has none; templates walk through them.
    function.entry("parameters").or_insert_with(|| json!({ "type": "object", "properties": {} }));
    Ok(function.into())
}
