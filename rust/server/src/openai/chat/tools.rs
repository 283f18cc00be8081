//! The tools of a body.

use serde_json::{Map, Value, json};

pub use crate::asked::tools::{Choice, Tools, declared};
use crate::error::ApiError;
use crate::openai::fields::{Fields, wrong_type};
use crate::openai::options::unsupported;
use crate::openai::schema::tool::{FUNCTION, TOOL};
use crate::openai::schema::{Endpoint, Param, check};

impl Tools {
    /// Takes the fields about tools out of a body. Newer names win over older ones.
    ///
    /// # Errors
    /// 400, naming the field.
    pub fn take(fields: &mut Fields) -> Result<Self, ApiError> {
        let is_parallel = fields.flag_or("parallel_tool_calls", true)?;
        let (field, choice, allowed) = take_choice(fields)?;
        let tools = take_list(fields, "tools", tool)?;
        let functions = take_list(fields, "functions", |path, value| {
            Ok(json!({ "type": "function", "function": function(path, value)? }))
        })?;
        let (list, place) =
            if tools.is_empty() { (functions, ["functions", ""]) } else { (tools, ["tools", ".function"]) };
        let mut tools = Self { list, choice, allowed, is_parallel, place };
        // The older form of an answer has room for one call.
        tools.is_parallel &= !tools.are_functions();
        tools.check_names(field)?;
        Ok(tools)
    }
}

/// The `tool_choice`: its field, whether tools are called, and which.
type Chosen = (&'static str, Choice, Option<Vec<String>>);

fn take_choice(fields: &mut Fields) -> Result<Chosen, ApiError> {
    const NAMES: [&str; 2] = ["tool_choice", "function_call"];
    let [newer, older] = NAMES.map(|name| fields.take(name));
    let (name, choice) = if newer.is_some() { (NAMES[0], newer) } else { (NAMES[1], older) };
    match choice {
        None => Ok((name, Choice::Auto, None)),
        Some(Value::String(word)) => match mode(&word) {
            Some(choice) => Ok((name, choice, None)),
            None => {
                let word: String = word.chars().take(64).collect();
                let message = format!("`{name}` is `{word}`, it must be `auto`, `none` or `required`");
                Err(ApiError::invalid("invalid_value", name, message))
            }
        },
        Some(value @ Value::Object(_)) => {
            let fields = Fields::from_value(name.to_owned(), value)?;
            let (choice, allowed) = if name == NAMES[1] {
                (Choice::Named(function_name(fields)?), None)
            } else {
                take_object(fields)?
            };
            Ok((name, choice, allowed))
        }
        Some(other) => Err(wrong_type(name, &other, "`auto`, `none`, `required` or an object")),
    }
}

fn mode(word: &str) -> Option<Choice> {
    match word {
        "auto" => Some(Choice::Auto),
        "none" => Some(Choice::None),
        "required" => Some(Choice::Required),
        _ => None,
    }
}

/// Returns a function by its name, or some tools.
fn take_object(mut fields: Fields) -> Result<(Choice, Option<Vec<String>>), ApiError> {
    let kind = fields.string("type")?.ok_or_else(|| fields.missing("type"))?;
    match kind.as_str() {
        "function" => Ok((Choice::Named(take_function(fields)?), None)),
        "allowed_tools" => {
            let path = fields.path_of("allowed_tools");
            let mut inner = Fields::from_value(path, fields.require("allowed_tools")?)?;
            let word = inner.string("mode")?.ok_or_else(|| inner.missing("mode"))?;
            let choice = mode(&word).filter(|choice| *choice != Choice::None).ok_or_else(|| {
                let path = inner.path_of("mode");
                let word: String = word.chars().take(64).collect();
                let message = format!("`{path}` is `{word}`, it must be `auto` or `required`");
                ApiError::invalid("invalid_value", path, message)
            })?;
            let path = inner.path_of("tools");
            let list = match inner.require("tools")? {
                Value::Array(list) => list,
                other => return Err(wrong_type(&path, &other, "a list of tools")),
            };
            if list.is_empty() {
                let message = format!("`{path}` is empty, it must have at least one tool");
                return Err(ApiError::invalid("invalid_value", path, message));
            }
            let name = |(index, value)| take_function(Fields::from_value(format!("{path}[{index}]"), value)?);
            let allowed = list.into_iter().enumerate().map(name).collect::<Result<_, _>>()?;
            Ok((choice, Some(allowed)))
        }
        _ => Err(unsupported(&fields.path_of("type"), &kind.into(), None)),
    }
}

/// Returns the name in `{"type": "function", "function": {"name": ...}}`.
fn take_function(mut fields: Fields) -> Result<String, ApiError> {
    let path = fields.path_of("function");
    let inner = fields.require("function")?;
    function_name(Fields::from_value(path, inner)?)
}

fn function_name(mut fields: Fields) -> Result<String, ApiError> {
    fields.string("name")?.ok_or_else(|| fields.missing("name"))
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

/// Returns an object whose `type` is or becomes `function`, with what is made of its `function`.
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
    // Templates walk through parameters, so a function without any gets an empty object.
    function.entry("parameters").or_insert_with(|| json!({ "type": "object", "properties": {} }));
    Ok(function.into())
}
