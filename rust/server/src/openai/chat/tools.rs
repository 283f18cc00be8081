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
    /// What the answer has to do with them.
    pub choice: Choice,
    /// The names of those that may be called, if not all may.
    allowed: Option<Vec<String>>,
    /// Whether the answer may have several calls.
    pub is_parallel: bool,
    /// The field that the tools are in, and the part of an entry that describes it.
    place: [&'static str; 2],
}

/// What an answer has to do with the tools.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Choice {
    /// It calls none.
    None,
    /// It calls what it likes, or nothing.
    #[default]
    Auto,
    /// It is a call.
    Required,
    /// It is a call of this one.
    Named(String),
}

impl Tools {
    /// Takes what says something of tools out of a body. Newer names win over older ones.
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

    /// These tools, as a dialect has read them; the field `choice_field` has said what is to be done
    /// with them.
    ///
    /// # Errors
    /// 400, if a call is forced that cannot be.
    pub fn new(
        list: Vec<Value>,
        choice: Choice,
        is_parallel: bool,
        choice_field: &str,
    ) -> Result<Self, ApiError> {
        let tools = Self { list, choice, allowed: None, is_parallel, place: ["tools", ""] };
        tools.check_names(choice_field)?;
        Ok(tools)
    }

    /// Whether the client knows OpenAI's older calls alone.
    #[must_use]
    pub fn are_functions(&self) -> bool {
        self.place[0] == "functions" && !self.list.is_empty()
    }

    /// What is forced or allowed must be there.
    fn check_names(&self, field: &str) -> Result<(), ApiError> {
        let is_forced = matches!(self.choice, Choice::Required | Choice::Named(_));
        if is_forced && self.list.is_empty() {
            let message = format!("`{field}` wants a call, and there are no `tools`");
            return Err(ApiError::invalid("invalid_value", field, message));
        }
        let named = match &self.choice {
            Choice::Named(name) => Some(name),
            _ => None,
        };
        let is_unknown = |name: &&String| self.list.iter().all(|tool| name_of(tool) != name.as_str());
        match named.into_iter().chain(self.allowed.iter().flatten()).find(is_unknown) {
            None => Ok(()),
            Some(name) => {
                let name: String = name.chars().take(64).collect();
                let message = format!("`{field}` names `{name}`, which is not among `{}`", self.place[0]);
                Err(ApiError::invalid("invalid_value", field, message))
            }
        }
    }

    /// Whether there are some, and the answer may call them.
    #[must_use]
    pub fn may_be_called(&self) -> bool {
        self.choice != Choice::None && self.callable().next().is_some()
    }

    /// Whether the answer is a call.
    #[must_use]
    pub fn must_be_called(&self) -> bool {
        matches!(self.choice, Choice::Required | Choice::Named(_))
    }

    /// Those that the answer may call.
    pub fn callable(&self) -> impl Iterator<Item = &Value> {
        self.list.iter().filter(|tool| match (&self.choice, &self.allowed) {
            (Choice::None, _) => false,
            (Choice::Named(name), _) => name_of(tool) == name,
            (_, Some(allowed)) => allowed.iter().any(|name| name_of(tool) == name),
            (_, None) => true,
        })
    }

    /// Whether an answer that the model gives freely might be another than the client wants.
    #[must_use]
    pub fn need_grammar(&self) -> bool {
        let is_strict = |tool: &Value| tool["function"]["strict"] == true;
        self.must_be_called() || self.allowed.is_some() || !self.is_parallel || self.callable().any(is_strict)
    }

    /// The field that the tools are in.
    #[must_use]
    pub fn field(&self) -> String {
        self.place[0].to_owned()
    }
}

fn name_of(tool: &Value) -> &str {
    tool["function"]["name"].as_str().unwrap_or_default()
}

/// These tools as a reader of answers needs them.
#[must_use]
pub fn declared<'a>(tools: impl Iterator<Item = &'a Value>) -> Vec<Tool> {
    let declared = |tool: &Value| {
        let function = &tool["function"];
        let name = function["name"].as_str()?.to_owned();
        Some(Tool { name, parameters: function.get("parameters").cloned() })
    };
    tools.filter_map(declared).collect()
}

/// What `tool_choice` says: the field that it came from, what the answer has to do with the tools,
/// and with which.
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

/// A function by its name, or some tools.
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

/// The name in `{"type": "function", "function": {"name": ...}}`.
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
