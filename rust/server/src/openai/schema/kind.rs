//! Types and ranges of fields: one description that is checked, printed and published.

use serde_json::{Value, json};

use super::{Fate, MAX_PROMPTS, Param};
use crate::error::ApiError;
use crate::openai::fields::{
    checked_float, checked_integer, list_too_long, text_of_length, token_ids, wrong_type,
};

/// The type and the range of a field.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// A switch.
    Boolean,
    /// An integer within these bounds.
    Integer(i64, i64),
    /// Tokens to keep: -1, which leaves it to the server, or an integer from 1 to this.
    Truncation(i64),
    /// A number within these bounds.
    Number(f64, f64),
    /// A text of one to this many characters.
    Text(usize),
    /// A text of at most this many characters; an empty one is the same as none.
    MaybeText(usize),
    /// A text that is safe in a header and in a log: up to 64 letters, digits, `.`, `_` and `-`.
    Name,
    /// A text of one to `max_chars` characters, or a list of at most `max_len` of them.
    Texts {
        /// Maximum entries.
        max_len: usize,
        /// Longest entry.
        max_chars: usize,
    },
    /// A list of at most this many token ids, each in the vocabulary.
    TokenIds(usize),
    /// An object of at most this many entries: token ids as strings, and numbers between -100 and
    /// 100.
    LogitBias(usize),
    /// A name of a tool, as the formats of calls can write it.
    ToolName,
    /// One of these words; checked where it is read.
    Words(&'static [&'static str]),
    /// An object with fields of its own.
    Object(&'static [Param]),
    /// A list of such objects; they are checked where they are read.
    Objects(&'static [Param]),
    /// An object whose fields are the template's affair.
    Variables,
    /// Whether and which tools an answer calls; checked where it is read.
    ToolChoice,
    /// The format of an answer, by its `type`; checked where it is read.
    ResponseFormat,
    /// One of vLLM's constraints, by its name; checked where it is read.
    StructuredOutputs,
    /// A text, or a list of blocks of a message; checked where they are read.
    Blocks,
    /// A list of at most `max_len` texts of one to `max_chars` characters.
    TextList {
        /// Maximum entries.
        max_len: usize,
        /// Longest entry.
        max_chars: usize,
    },
    /// An object of at most 16 texts.
    Metadata,
    /// A list of messages; checked where they are read.
    Messages,
    /// A text, or a list of items; checked where they are read.
    Input,
    /// A prompt or several; checked where they are read.
    Prompt,
    /// Any value; it is ignored.
    Anything,
}

impl Kind {
    /// Checks a value.
    ///
    /// # Errors
    /// `invalid_type`, `invalid_value`.
    pub fn check(self, path: &str, value: &Value, vocab_size: usize) -> Result<(), ApiError> {
        match self {
            Self::Boolean if !value.is_boolean() => Err(wrong_type(path, value, "a boolean")),
            Self::Integer(min, max) => checked_integer(path, value, min..=max).map(drop),
            Self::Truncation(_) if *value == -1 => Ok(()),
            Self::Truncation(max) => checked_integer(path, value, 1..=max).map(drop).map_err(or_minus_one),
            Self::Number(min, max) => checked_float(path, value, min..=max).map(drop),
            Self::Text(max_chars) => text_of_length(path, value, max_chars).map(drop),
            Self::MaybeText(max_chars) if *value != "" => text_of_length(path, value, max_chars).map(drop),
            Self::Name => name(path, value),
            Self::ToolName => tool_name(path, value),
            Self::Texts { max_len, max_chars } => texts(path, value, max_len, max_chars),
            Self::TextList { .. } if !value.is_array() => Err(wrong_type(path, value, "a list of strings")),
            Self::TextList { max_len, max_chars } => texts(path, value, max_len, max_chars),
            Self::Metadata => metadata(path, value),
            Self::TokenIds(max_len) => match value {
                Value::Array(list) if list.len() > max_len => {
                    Err(list_too_long(path, list.len(), "tokens", max_len))
                }
                Value::Array(list) => token_ids(path, list, vocab_size).map(drop),
                other => Err(wrong_type(path, other, "a list of token ids")),
            },
            Self::LogitBias(max_len) => logit_bias(path, value, max_len, vocab_size),
            Self::Object(_) | Self::Variables | Self::ResponseFormat | Self::StructuredOutputs
                if !value.is_object() =>
            {
                Err(wrong_type(path, value, "an object"))
            }
            Self::Objects(_) if !value.is_array() => Err(wrong_type(path, value, "a list of objects")),
            _ => Ok(()),
        }
    }

    /// Returns the type and the range in words.
    #[must_use]
    pub fn words(self) -> String {
        match self {
            Self::Boolean => "boolean".to_owned(),
            Self::Integer(min, i64::MAX) if min == i64::MIN => "64-bit integer".to_owned(),
            Self::Integer(min, max) => format!("integer, {min} to {max}"),
            Self::Truncation(max) => format!("-1, or an integer, 1 to {max}"),
            Self::Number(min, max) => format!("number, {min} to {max}"),
            Self::Text(max_chars) => format!("text, 1 to {max_chars} characters"),
            Self::MaybeText(max_chars) => format!("text, at most {max_chars} characters"),
            Self::Name => "text, 1 to 64 of `A-Za-z0-9._-`".to_owned(),
            Self::Texts { max_len, max_chars } => {
                format!("text of 1 to {max_chars} characters, or a list of at most {max_len}")
            }
            Self::TokenIds(max_len) => format!("list of at most {max_len} token ids"),
            Self::LogitBias(max_len) => {
                format!("object of at most {max_len} token ids, each with a number, -100 to 100")
            }
            Self::ToolName => "text, 1 to 256 bytes of letters, digits and `_-.:/`".to_owned(),
            Self::Words(words) => {
                words.iter().map(|word| format!("`\"{word}\"`")).collect::<Vec<_>>().join(", ")
            }
            Self::Object(_) | Self::Variables | Self::ResponseFormat | Self::StructuredOutputs => {
                "object".to_owned()
            }
            Self::ToolChoice => "word or object".to_owned(),
            Self::Objects(_) => "list of objects".to_owned(),
            Self::Blocks => "text, or list of blocks".to_owned(),
            Self::TextList { max_len, max_chars } => {
                format!("list of at most {max_len} texts of 1 to {max_chars} characters")
            }
            Self::Metadata => {
                format!("object of at most {MAX_METADATA} texts of up to {MAX_METADATA_CHARS} characters")
            }
            Self::Messages => "list of messages".to_owned(),
            Self::Input => "text, or list of items".to_owned(),
            Self::Prompt => "text, list of texts, list of token ids, or list of such lists".to_owned(),
            Self::Anything => "any".to_owned(),
        }
    }
}

/// OpenAI's limits of `metadata`: entries, and characters of a name and of a text.
const MAX_METADATA: usize = 16;
const MAX_METADATA_NAME_CHARS: usize = 64;
const MAX_METADATA_CHARS: usize = 512;

fn metadata(path: &str, value: &Value) -> Result<(), ApiError> {
    let Value::Object(entries) = value else { return Err(wrong_type(path, value, "an object of texts")) };
    if entries.len() > MAX_METADATA {
        return Err(list_too_long(path, entries.len(), "entries", MAX_METADATA));
    }
    entries.iter().try_for_each(|(name, value)| {
        let name: String = name.chars().take(MAX_METADATA_NAME_CHARS + 1).collect();
        if name.chars().count() > MAX_METADATA_NAME_CHARS {
            let message = format!(
                "`{path}` has a name of more than {MAX_METADATA_NAME_CHARS} characters, limit is {MAX_METADATA_NAME_CHARS}"
            );
            return Err(ApiError::invalid("invalid_value", path, message));
        }
        let path = format!("{path}.{name}");
        if value == "" { Ok(()) } else { text_of_length(&path, value, MAX_METADATA_CHARS).map(drop) }
    })
}

fn or_minus_one(error: ApiError) -> ApiError {
    match error {
        ApiError::Invalid { code: code @ "invalid_value", param, message } => {
            ApiError::Invalid { code, param, message: format!("{message}, or -1") }
        }
        other => other,
    }
}

fn name(path: &str, value: &Value) -> Result<(), ApiError> {
    let text = text_of_length(path, value, 64)?;
    if text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)) {
        return Ok(());
    }
    let message = format!("`{path}` may only have letters, digits, `.`, `_` and `-`");
    Err(ApiError::invalid("invalid_value", path, message))
}

fn tool_name(path: &str, value: &Value) -> Result<(), ApiError> {
    let text = text_of_length(path, value, 256)?;
    if streamcore_parsers::is_name(text) {
        return Ok(());
    }
    let message =
        format!("`{path}` may only have letters, digits, `_`, `-`, `.`, `:` and `/`, at most 256 bytes");
    Err(ApiError::invalid("invalid_value", path, message))
}

fn texts(path: &str, value: &Value, max_len: usize, max_chars: usize) -> Result<(), ApiError> {
    match value {
        Value::String(_) => text_of_length(path, value, max_chars).map(drop),
        Value::Array(list) if list.len() > max_len => {
            Err(list_too_long(path, list.len(), "strings", max_len))
        }
        Value::Array(list) => list.iter().enumerate().try_for_each(|(index, value)| {
            text_of_length(&format!("{path}[{index}]"), value, max_chars).map(drop)
        }),
        other => Err(wrong_type(path, other, "a string or a list of strings")),
    }
}

fn logit_bias(path: &str, value: &Value, max_len: usize, vocab_size: usize) -> Result<(), ApiError> {
    let Value::Object(entries) = value else {
        return Err(wrong_type(path, value, "an object of token ids and numbers"));
    };
    if entries.len() > max_len {
        return Err(list_too_long(path, entries.len(), "entries", max_len));
    }
    for (id, bias) in entries {
        let path = format!("{path}.{id}");
        if id.parse::<usize>().ok().is_none_or(|id| id >= vocab_size) {
            let largest = vocab_size.saturating_sub(1);
            let message = format!("`{path}` is no token id, they are between 0 and {largest}");
            return Err(ApiError::invalid("invalid_value", path, message));
        }
        checked_float(&path, bias, -100.0..=100.0)?;
    }
    Ok(())
}

impl Kind {
    /// Returns the type and the range as a JSON schema.
    #[must_use]
    pub fn schema(self) -> Value {
        let text = |max_chars: usize| json!({ "type": "string", "minLength": 1, "maxLength": max_chars });
        let token_id = || json!({ "type": "integer", "minimum": 0 });
        match self {
            Self::Boolean => json!({ "type": "boolean" }),
            Self::Integer(min, max) => json!({ "type": "integer", "minimum": min, "maximum": max }),
            Self::Truncation(max) => json!({ "anyOf": [
                { "const": -1 }, { "type": "integer", "minimum": 1, "maximum": max },
            ] }),
            Self::Number(min, max) => json!({ "type": "number", "minimum": min, "maximum": max }),
            Self::Text(max_chars) => text(max_chars),
            Self::MaybeText(max_chars) => json!({ "type": "string", "maxLength": max_chars }),
            Self::Name => json!({ "type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$" }),
            Self::Texts { max_len, max_chars } => json!({ "anyOf": [
                text(max_chars), { "type": "array", "items": text(max_chars), "maxItems": max_len },
            ] }),
            Self::TokenIds(max_len) => json!({ "type": "array", "items": token_id(), "maxItems": max_len }),
            Self::LogitBias(max_len) => json!({
                "type": "object",
                "propertyNames": { "pattern": "^[0-9]+$" },
                "additionalProperties": { "type": "number", "minimum": -100, "maximum": 100 },
                "maxProperties": max_len,
            }),
            Self::ToolName => json!({ "type": "string", "minLength": 1, "maxLength": 256 }),
            Self::Words(words) => json!({ "enum": words }),
            Self::Object(params) => object(params),
            Self::Objects(params) => json!({ "type": "array", "items": object(params) }),
            Self::Variables => json!({ "type": "object" }),
            Self::ToolChoice => json!({ "anyOf": [
                { "enum": ["auto", "none", "required"] }, { "type": "object" },
            ] }),
            Self::ResponseFormat => {
                let types = ["text", "json_object", "json_schema", "structural_tag"];
                json!({ "type": "object", "required": ["type"], "properties": { "type": { "enum": types } } })
            }
            Self::StructuredOutputs => structured_outputs(),
            Self::Blocks => blocks(),
            Self::TextList { max_len, max_chars } => {
                json!({ "type": "array", "items": text(max_chars), "maxItems": max_len })
            }
            Self::Metadata => json!({
                "type": "object", "maxProperties": MAX_METADATA,
                "propertyNames": { "maxLength": MAX_METADATA_NAME_CHARS },
                "additionalProperties": { "type": "string", "maxLength": MAX_METADATA_CHARS },
            }),
            Self::Input => json!({ "anyOf": [
                { "type": "string" },
                { "type": "array", "minItems": 1, "items": { "$ref": "#/components/schemas/InputItem" } },
            ] }),
            Self::Messages => json!({
                "type": "array", "minItems": 1, "items": { "$ref": "#/components/schemas/Message" },
            }),
            Self::Prompt => {
                let tokens = json!({ "type": "array", "items": token_id(), "minItems": 1 });
                json!({ "anyOf": [
                    { "type": "string" },
                    { "type": "array", "items": { "type": "string" }, "minItems": 1, "maxItems": MAX_PROMPTS },
                    tokens,
                    { "type": "array", "items": tokens, "minItems": 1, "maxItems": MAX_PROMPTS },
                ] })
            }
            Self::Anything => json!({}),
        }
    }
}

fn structured_outputs() -> Value {
    let properties = json!({
        "json": { "type": ["object", "string"] },
        "regex": { "type": "string" },
        "choice": { "type": "array", "items": { "type": "string" } },
        "grammar": { "type": "string" },
        "json_object": { "type": "boolean" },
        "structural_tag": { "type": ["object", "string"] },
    });
    json!({ "type": "object", "properties": properties })
}

fn blocks() -> Value {
    let kind = json!({ "type": { "type": "string" } });
    let block = json!({ "type": "object", "required": ["type"], "properties": kind });
    json!({ "anyOf": [{ "type": "string" }, { "type": "array", "items": block }] })
}

fn object(params: &[Param]) -> Value {
    let schema = |param: &Param| match param.fate {
        Fate::Honoured { default: "" } => param.kind.schema(),
        _ => json!({ "anyOf": [param.kind.schema(), { "type": "null" }] }),
    };
    let properties = params.iter().map(|param| (param.name.to_owned(), schema(param)));
    let properties: serde_json::Map<_, _> = properties.collect();
    let required = params.iter().filter(|param| matches!(param.fate, Fate::Honoured { default: "" }));
    let required: Vec<_> = required.map(|param| param.name).collect();
    if required.is_empty() {
        return json!({ "type": "object", "properties": properties });
    }
    json!({ "type": "object", "required": required, "properties": properties })
}
