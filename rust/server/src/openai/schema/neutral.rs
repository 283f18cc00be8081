//! Values of fields that are not honoured, but change nothing.

use serde_json::{Value, json};

/// The values of a field that equal its absence.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Neutral {
    /// None but `null`.
    Null,
    /// `false`
    False,
    /// `true`
    True,
    /// One of these numbers.
    Numbers(&'static [f64]),
    /// An empty string, list or object.
    Empty,
    /// One of these words.
    Words(&'static [&'static str]),
    /// A list of these words.
    ListOf(&'static str),
}

impl Neutral {
    /// Returns whether the value changes nothing.
    #[must_use]
    pub fn matches(self, value: &Value) -> bool {
        match self {
            Self::Null => false,
            Self::False => value == false,
            Self::True => value == true,
            Self::Numbers(numbers) => {
                // Another spelling of a number may differ in its last bit.
                value.as_f64().is_some_and(|value| numbers.iter().any(|number| (value - number).abs() < 1e-9))
            }
            Self::Empty => match value {
                Value::String(text) => text.is_empty(),
                Value::Array(list) => list.is_empty(),
                Value::Object(fields) => fields.is_empty(),
                _ => false,
            },
            Self::Words(words) => words.iter().any(|word| value == word),
            Self::ListOf(word) => value.as_array().is_some_and(|list| list.iter().all(|entry| entry == word)),
        }
    }

    /// Returns the values in words.
    #[must_use]
    pub fn words(self) -> String {
        match self {
            Self::Null => "`null`".to_owned(),
            Self::False => "`false`".to_owned(),
            Self::True => "`true`".to_owned(),
            Self::Numbers(numbers) => numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
            Self::Empty => "empty".to_owned(),
            Self::Words(words) => {
                words.iter().map(|word| format!("`\"{word}\"`")).collect::<Vec<_>>().join(", ")
            }
            Self::ListOf(word) => format!("`[\"{word}\"]`"),
        }
    }

    /// Returns the values as a JSON schema, `null` excepted.
    #[must_use]
    pub fn schema(self) -> Value {
        match self {
            Self::Null => json!({ "type": "null" }),
            Self::False => json!({ "const": false }),
            Self::True => json!({ "const": true }),
            Self::Numbers(numbers) => json!({ "enum": numbers }),
            Self::Empty => json!({ "enum": ["", [], {}] }),
            Self::Words(words) => json!({ "enum": words }),
            Self::ListOf(word) => json!({ "type": "array", "items": { "const": word } }),
        }
    }
}
