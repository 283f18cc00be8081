//! Values of fields that are not honoured, but change nothing.

use serde_json::{Value, json};

/// The values of a field that mean what holds without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Neutral {
    /// None but `null`.
    Null,
    /// `false`
    False,
    /// 1
    One,
    /// An empty string, list or object.
    Empty,
    /// One of these words.
    Words(&'static [&'static str]),
    /// A list of these words.
    ListOf(&'static str),
    /// An object whose `type` is this word.
    Type(&'static str),
}

impl Neutral {
    /// Whether the value changes nothing.
    #[must_use]
    pub fn matches(self, value: &Value) -> bool {
        match self {
            Self::Null => false,
            Self::False => value == false,
            Self::One => value.as_f64() == Some(1.0),
            Self::Empty => match value {
                Value::String(text) => text.is_empty(),
                Value::Array(list) => list.is_empty(),
                Value::Object(fields) => fields.is_empty(),
                _ => false,
            },
            Self::Words(words) => words.iter().any(|word| value == word),
            Self::ListOf(word) => value.as_array().is_some_and(|list| list.iter().all(|entry| entry == word)),
            Self::Type(word) => value.get("type").is_some_and(|kind| kind == word),
        }
    }

    /// The values in words.
    #[must_use]
    pub fn words(self) -> String {
        match self {
            Self::Null => "`null`".to_owned(),
            Self::False => "`false`".to_owned(),
            Self::One => "1".to_owned(),
            Self::Empty => "empty".to_owned(),
            Self::Words(words) => {
                words.iter().map(|word| format!("`\"{word}\"`")).collect::<Vec<_>>().join(", ")
            }
            Self::ListOf(word) => format!("`[\"{word}\"]`"),
            Self::Type(word) => format!("`{{\"type\": \"{word}\"}}`"),
        }
    }

    /// The values as a JSON schema, `null` excepted.
    #[must_use]
    pub fn schema(self) -> Value {
        match self {
            Self::Null => json!({ "type": "null" }),
            Self::False => json!({ "const": false }),
            Self::One => json!({ "const": 1 }),
            Self::Empty => json!({ "enum": ["", [], {}] }),
            Self::Words(words) => json!({ "enum": words }),
            Self::ListOf(word) => json!({ "type": "array", "items": { "const": word } }),
            Self::Type(word) => {
                json!({ "type": "object", "properties": { "type": { "const": word } }, "required": ["type"] })
            }
        }
    }
}
