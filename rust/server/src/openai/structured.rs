//! Constraints on answers: `response_format`, vLLM's `structured_outputs`, and its older fields.

use std::cell::Cell;

use serde_json::{Value, json};
use streamcore_grammar::{Grammar, Node, Whitespace};

use super::fields::{Fields, wrong_type};
use super::json::{MAX_VALUES, parse_nested_object};
use super::options::unsupported;
pub use crate::asked::Asked;
use crate::error::ApiError;

const CHOICE: &str = "a list of texts, at least one";

/// Takes the fields that constrain an answer out of a body.
///
/// # Errors
/// 400, naming the field; among others if there are two.
pub fn take(fields: &mut Fields) -> Result<Option<Asked>, ApiError> {
    let mut all = Vec::new();
    if let Some(value) = fields.take("response_format") {
        all.extend(response_format(value)?);
    }
    if let Some(value) = fields.take("structured_outputs") {
        all.extend(structured_outputs(value)?);
    }
    for name in ["json", "regex", "choice", "grammar", "json_object"] {
        let field = format!("guided_{name}");
        if let Some(value) = fields.take(&field) {
            all.extend(constraint(name, &field, value, Whitespace::default())?);
        }
    }
    let mut all = all.into_iter();
    match (all.next(), all.next()) {
        (Some(first), Some(second)) => {
            let message = format!("`{}` is not allowed with `{}`", second.field, first.field);
            Err(ApiError::invalid("invalid_value", second.field, message))
        }
        (first, _) => Ok(first),
    }
}

fn response_format(value: Value) -> Result<Option<Asked>, ApiError> {
    const FIELD: &str = "response_format";
    let mut fields = Fields::from_value(FIELD.to_owned(), value)?;
    let kind = fields.string("type")?.ok_or_else(|| fields.missing("type"))?;
    let asked = |node, field: &str| Ok(Some(Asked { node, field: field.to_owned() }));
    match kind.as_str() {
        "text" => Ok(None),
        "json_object" => match fields.take("schema") {
            None => asked(Node::json(json!({"type": "object"})), FIELD),
            Some(schema) => asked(json_node("response_format.schema", schema)?, "response_format.schema"),
        },
        "json_schema" => {
            let inner = fields.require("json_schema")?;
            let mut inner = Fields::from_value(fields.path_of("json_schema"), inner)?;
            let schema = inner.require("schema")?;
            let path = inner.path_of("schema");
            asked(json_node(&path, schema)?, &path)
        }
        "structural_tag" => {
            let tag = Value::Object(fields.into_rest());
            let tag = without_type(tag);
            let node = Grammar::structural_tag(&tag).map_err(|error| ApiError::of_grammar(&error, FIELD))?.0;
            asked(node, FIELD)
        }
        _ => Err(unknown_type(&kind)),
    }
}

fn unknown_type(kind: &str) -> ApiError {
    const FIELD: &str = "response_format.type";
    let kind: String = kind.chars().take(64).collect();
    let message =
        format!("`{FIELD}` is `{kind}`, it must be `text`, `json_object`, `json_schema` or `structural_tag`");
    ApiError::invalid("unsupported_parameter", FIELD, message)
}

/// Removes the type of the field itself, which is not part of the tag.
fn without_type(tag: Value) -> Value {
    match tag {
        Value::Object(mut map) => {
            map.shift_remove("type");
            Value::Object(map)
        }
        other => other,
    }
}

fn structured_outputs(value: Value) -> Result<Option<Asked>, ApiError> {
    const FIELD: &str = "structured_outputs";
    const KINDS: [&str; 6] = ["json", "regex", "choice", "grammar", "json_object", "structural_tag"];
    let mut fields = Fields::from_value(FIELD.to_owned(), value)?;
    let is_compact = fields.flag("disable_any_whitespace")?;
    let whitespace = if is_compact { Whitespace::Compact } else { Whitespace::default() };
    // There is one engine for grammars, so nothing falls back.
    for choice_of_engine in ["disable_fallback", "backend", "_backend"] {
        fields.take(choice_of_engine);
    }
    let mut all = Vec::new();
    for kind in KINDS {
        if let Some(value) = fields.take(kind) {
            all.extend(constraint(kind, &format!("{FIELD}.{kind}"), value, whitespace)?);
        }
    }
    if let Some((name, value)) = fields.into_rest().into_iter().find(|(_, value)| !is_off(value)) {
        return Err(unsupported(&format!("{FIELD}.{name}"), &value, None));
    }
    match &all[..] {
        [_] => Ok(all.pop()),
        [] => Err(ApiError::invalid(
            "invalid_value",
            FIELD,
            format!("`{FIELD}` has none of `{}`", KINDS.join("`, `")),
        )),
        [first, second, ..] => {
            let message = format!("`{}` is not allowed with `{}`", second.field, first.field);
            Err(ApiError::invalid("invalid_value", second.field.clone(), message))
        }
    }
}

fn is_off(value: &Value) -> bool {
    value.is_null() || *value == false
}

/// Reads one of vLLM's constraints.
fn constraint(
    kind: &str,
    field: &str,
    value: Value,
    whitespace: Whitespace,
) -> Result<Option<Asked>, ApiError> {
    let node = match (kind, value) {
        ("json", Value::String(text)) => {
            let schema = parse(field, &text)?;
            Node::Json { schema: checked_schema(field, schema)?, whitespace }
        }
        ("json", schema) => Node::Json { schema: checked_schema(field, schema)?, whitespace },
        ("json_object", Value::Bool(false)) => return Ok(None),
        ("json_object", Value::Bool(true)) => Node::Json { schema: json!({"type": "object"}), whitespace },
        ("json_object", other) => return Err(wrong_type(field, &other, "`true` or `false`")),
        ("regex", Value::String(pattern)) => Node::Regex(pattern),
        ("grammar", Value::String(source)) => Node::Lark(source),
        ("regex" | "grammar", other) => return Err(wrong_type(field, &other, "a string")),
        ("choice", value) => Node::Choice(choice(field, value)?),
        ("structural_tag", Value::String(text)) => structural_tag(field, &parse(field, &text)?)?,
        (_, tag) => structural_tag(field, &tag)?,
    };
    Ok(Some(Asked { node, field: field.to_owned() }))
}

fn structural_tag(field: &str, tag: &Value) -> Result<Node, ApiError> {
    let tag = match tag.get("type").and_then(Value::as_str) {
        Some("structural_tag") => without_type(tag.clone()),
        _ => tag.clone(),
    };
    Ok(Grammar::structural_tag(&tag).map_err(|error| ApiError::of_grammar(&error, field))?.0)
}

fn choice(field: &str, value: Value) -> Result<Vec<String>, ApiError> {
    let list = match value {
        Value::Array(list) => list,
        one @ Value::String(_) => vec![one],
        other => return Err(wrong_type(field, &other, CHOICE)),
    };
    if list.is_empty() {
        return Err(ApiError::invalid(
            "invalid_value",
            field,
            format!("`{field}` is empty, it must be {CHOICE}"),
        ));
    }
    let text = |(index, value): (usize, Value)| match value {
        Value::String(text) => Ok(text),
        other => Err(wrong_type(&format!("{field}[{index}]"), &other, "a string")),
    };
    list.into_iter().enumerate().map(text).collect()
}

/// Returns the grammar of a JSON schema.
///
/// # Errors
/// 400, if it is no object.
pub fn json_node(field: &str, schema: Value) -> Result<Node, ApiError> {
    Ok(Node::json(checked_schema(field, schema)?))
}

/// Refuses a schema that is not an object; `true` would be valid, but is a mistake here.
fn checked_schema(field: &str, schema: Value) -> Result<Value, ApiError> {
    match schema {
        Value::Object(_) => Ok(schema),
        other => Err(wrong_type(field, &other, "a JSON schema, which is an object")),
    }
}

fn parse(field: &str, text: &str) -> Result<Value, ApiError> {
    parse_nested_object(text, &Cell::new(MAX_VALUES)).map(Value::Object).map_err(|reason| {
        ApiError::invalid("invalid_value", field, format!("`{field}` is not an object in JSON: {reason}"))
    })
}
