//! Translates the tools of a response into those of a chat.

use serde_json::{Map, Value, json};

use super::translation::Translation;
use crate::error::ApiError;
use crate::openai::fields::{Fields, wrong_type};
use crate::openai::options::unsupported;

/// Optional tools of OpenAI's own servers. They are left out of the prompt, so the model calls
/// none.
const LEFT_OUT: &[&str] = &[
    "apply_patch",
    "custom",
    "image_generation",
    "local_shell",
    "namespace",
    "shell",
    "tool_search",
    "web_search",
    "web_search_2025_08_26",
    "web_search_preview",
    "web_search_preview_2025_03_11",
];

/// Adds the functions of `tools` to a chat. Returns the tools that the answer repeats: those of the
/// prompt.
///
/// # Errors
/// 400, naming the tool.
pub(super) fn add_tools(chat: &mut Translation, tools: Value) -> Result<Vec<Value>, ApiError> {
    let Value::Array(list) = tools else { return Err(wrong_type("tools", &tools, "a list of objects")) };
    let (mut functions, mut told) = (Vec::new(), Vec::new());
    for (index, tool) in list.into_iter().enumerate() {
        let path = format!("tools[{index}]");
        let mut fields = Fields::from_value(path.clone(), tool)?;
        let kind = fields.string("type")?.ok_or_else(|| fields.missing("type"))?;
        match kind.as_str() {
            "function" => {
                chat.origins.add(format!("tools[{}].function", functions.len()), path);
                let function = fields.into_rest();
                told.push(told_tool(&function));
                functions.push(json!({ "type": "function", "function": function }));
            }
            kind if LEFT_OUT.contains(&kind) => {}
            // A model would make its results up: they need files and servers that are not here.
            kind => return Err(unsupported(&format!("{path}.type"), &kind.into(), None)),
        }
    }
    chat.body.insert("tools".to_owned(), functions.into());
    Ok(told)
}

fn told_tool(function: &Map<String, Value>) -> Value {
    let field = |name: &str| function.get(name).cloned().unwrap_or(Value::Null);
    json!({
        "type": "function", "name": field("name"), "description": field("description"),
        "parameters": field("parameters"), "strict": field("strict") == true,
    })
}

/// Adds `tool_choice` to a chat, in which the name of a function is one level further down.
///
/// # Errors
/// 400, naming the field.
pub(super) fn add_tool_choice(chat: &mut Translation, choice: Value) -> Result<(), ApiError> {
    let choice = match choice {
        Value::Object(_) => object(choice)?,
        other => other,
    };
    for name in ["tool_choice", "tool_choice.function", "tool_choice.allowed_tools"] {
        chat.origins.add(name, "tool_choice");
    }
    chat.body.insert("tool_choice".to_owned(), choice);
    Ok(())
}

fn object(choice: Value) -> Result<Value, ApiError> {
    let mut fields = Fields::from_value("tool_choice".to_owned(), choice)?;
    let kind = fields.string("type")?.ok_or_else(|| fields.missing("type"))?;
    match kind.as_str() {
        "function" => Ok(json!({ "type": "function", "function": fields.into_rest() })),
        "allowed_tools" => {
            let mut rest = fields.into_rest();
            if let Some(Value::Array(tools)) = rest.get_mut("tools") {
                tools.iter_mut().enumerate().try_for_each(|(index, tool)| {
                    let path = format!("tool_choice.tools[{index}]");
                    let mut named = Fields::from_value(path, tool.take())?;
                    let kind = named.string("type")?.ok_or_else(|| named.missing("type"))?;
                    if kind != "function" {
                        return Err(unsupported(&named.path_of("type"), &kind.into(), None));
                    }
                    if named.get("name").is_none() {
                        return Err(named.missing("name"));
                    }
                    *tool = json!({ "type": "function", "function": named.into_rest() });
                    Ok(())
                })?;
            }
            Ok(json!({ "type": "allowed_tools", "allowed_tools": rest }))
        }
        _ => Err(unsupported("tool_choice.type", &kind.into(), None)),
    }
}
