//! Takes typed, range-checked values out of a JSON object; every error names its field.

use std::fmt::Display;
use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use super::json::{kind_of, parse_object};
use crate::error::ApiError;

/// The fields of an object that have not been taken yet. `null` counts as absent, as it does for
/// OpenAI.
#[derive(Debug, Default)]
pub struct Fields {
    path: String,
    fields: Map<String, Value>,
}

impl Fields {
    /// Returns the fields of a body.
    ///
    /// # Errors
    /// `invalid_json`.
    pub fn parse(body: &[u8]) -> Result<Self, ApiError> {
        Ok(Self { path: String::new(), fields: parse_object(body)? })
    }

    /// Returns the fields of an object inside a body; `path` is where it is.
    ///
    /// # Errors
    /// `invalid_type`, if it is not an object.
    pub fn from_value(path: String, value: Value) -> Result<Self, ApiError> {
        match value {
            Value::Object(fields) => Ok(Self { path, fields }),
            other => Err(wrong_type(&path, &other, "an object")),
        }
    }

    /// Returns a field's path, as errors name it.
    #[must_use]
    pub fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// Returns a field of any type.
    pub fn take(&mut self, name: &str) -> Option<Value> {
        self.fields.swap_remove(name).filter(|value| !value.is_null())
    }

    /// Returns a required field.
    ///
    /// # Errors
    /// `missing_required_parameter`.
    pub fn require(&mut self, name: &str) -> Result<Value, ApiError> {
        self.take(name).ok_or_else(|| self.missing(name))
    }

    /// Returns the error of a missing field.
    #[must_use]
    pub fn missing(&self, name: &str) -> ApiError {
        let path = self.path_of(name);
        ApiError::invalid("missing_required_parameter", &*path, format!("`{path}` is missing"))
    }

    /// Returns a text.
    ///
    /// # Errors
    /// `invalid_type`.
    pub fn string(&mut self, name: &str) -> Result<Option<String>, ApiError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(wrong_type(&self.path_of(name), &other, "a string")),
        }
    }

    /// Returns one of these words.
    ///
    /// # Errors
    /// `invalid_type`, `invalid_value`.
    pub fn word(&mut self, name: &str, words: &[&'static str]) -> Result<Option<&'static str>, ApiError> {
        let Some(given) = self.string(name)? else { return Ok(None) };
        if let Some(word) = words.iter().find(|word| **word == given) {
            return Ok(Some(*word));
        }
        let (path, given) = (self.path_of(name), given.chars().take(64).collect::<String>());
        let message = format!("`{path}` is `{given}`, it must be one of `{}`", words.join("`, `"));
        Err(ApiError::invalid("invalid_value", path, message))
    }

    /// Returns a switch; off by default.
    ///
    /// # Errors
    /// `invalid_type`.
    pub fn flag(&mut self, name: &str) -> Result<bool, ApiError> {
        self.flag_or(name, false)
    }

    /// Returns a switch with this default.
    ///
    /// # Errors
    /// `invalid_type`.
    pub fn flag_or(&mut self, name: &str, usual: bool) -> Result<bool, ApiError> {
        match self.take(name) {
            None => Ok(usual),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(other) => Err(wrong_type(&self.path_of(name), &other, "a boolean")),
        }
    }

    /// Returns a field without taking it.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.fields.get(name).filter(|value| !value.is_null())
    }

    /// Returns a number whose type and range the table has checked.
    pub fn number(&mut self, name: &str) -> Option<f64> {
        self.take(name).and_then(|value| value.as_f64())
    }

    /// Returns an integer whose type and range the table has checked.
    pub fn integer(&mut self, name: &str) -> Option<i64> {
        self.take(name).and_then(|value| value.as_i64())
    }

    /// Returns an integer that the table limits to a count.
    pub fn count(&mut self, name: &str) -> Option<usize> {
        self.integer(name)
            .map(|value| usize::try_from(value).expect("the table has no negative numbers of things"))
    }

    /// Returns token ids that the table has checked; empty by default.
    pub fn tokens(&mut self, name: &str) -> Vec<u32> {
        let Some(Value::Array(list)) = self.take(name) else { return Vec::new() };
        list.iter().filter_map(|id| u32::try_from(id.as_u64()?).ok()).collect()
    }

    /// Returns the remaining fields in order, without `null` ones.
    #[must_use]
    pub fn into_rest(mut self) -> Map<String, Value> {
        self.fields.retain(|_, value| !value.is_null());
        self.fields
    }

    /// Returns the names of the remaining fields.
    pub fn left(&self) -> impl Iterator<Item = &str> {
        self.fields.keys().map(String::as_str)
    }
}

/// Returns a number within a range.
///
/// # Errors
/// `invalid_type`, `invalid_value`.
pub fn checked_float(path: &str, value: &Value, range: RangeInclusive<f64>) -> Result<f64, ApiError> {
    let number = value.as_f64().ok_or_else(|| wrong_type(path, value, "a number"))?;
    in_range(path, number, &range)
}

/// Returns an integer within a range.
///
/// # Errors
/// `invalid_type`, `invalid_value`.
pub fn checked_integer(path: &str, value: &Value, range: RangeInclusive<i64>) -> Result<i64, ApiError> {
    match value.as_i64() {
        Some(number) => in_range(path, number, &range),
        // One that is an integer, but too large for 64 bits, is out of range rather than of the
        // wrong type.
        None if value.as_f64().is_some_and(|number| number.abs() >= TWO_TO_63) => {
            Err(out_of_range(path, value, &range))
        }
        None => Err(wrong_type(path, value, "an integer")),
    }
}

const TWO_TO_63: f64 = 9_223_372_036_854_775_808.0;

/// Returns a text of one to `max_chars` characters, as JSON schemas count them.
///
/// # Errors
/// `invalid_type`, `invalid_value`.
pub fn text_of_length<'a>(path: &str, value: &'a Value, max_chars: usize) -> Result<&'a str, ApiError> {
    let text = value.as_str().ok_or_else(|| wrong_type(path, value, "a string"))?;
    let num_chars = text.chars().count();
    if (1..=max_chars).contains(&num_chars) {
        return Ok(text);
    }
    let message = format!("`{path}` has {num_chars} characters, it must have between 1 and {max_chars}");
    Err(ApiError::invalid("invalid_value", path, message))
}

/// Returns the error of a list or an object with too many entries.
#[must_use]
pub fn list_too_long(path: &str, len: usize, what: &str, max_len: usize) -> ApiError {
    ApiError::invalid("invalid_value", path, format!("`{path}` has {len} {what}, limit is {max_len}"))
}

/// Returns a list of token ids, each below `vocab_size`.
///
/// # Errors
/// `invalid_type`, `invalid_value`.
pub fn token_ids(path: &str, list: &[Value], vocab_size: usize) -> Result<Vec<u32>, ApiError> {
    let largest = vocab_size.saturating_sub(1) as u64;
    list.iter()
        .enumerate()
        .map(|(index, value)| {
            let path = || format!("{path}[{index}]");
            let number = value.as_u64().ok_or_else(|| match value {
                Value::Number(_) => out_of_range(&path(), value, &(0..=largest)),
                other => wrong_type(&path(), other, "a token id"),
            })?;
            let number = in_range(&path(), number, &(0..=largest))?;
            Ok(u32::try_from(number).expect("vocabularies have 32-bit ids"))
        })
        .collect()
}

/// Returns the error of a value of the wrong type.
#[must_use]
pub fn wrong_type(path: &str, value: &Value, expected: &str) -> ApiError {
    let kind = match value {
        Value::Number(number) => format!("the number {number}"),
        other => kind_of(other).to_owned(),
    };
    ApiError::invalid("invalid_type", path, format!("`{path}` is {kind}, it must be {expected}"))
}

fn in_range<T: PartialOrd + Display>(
    path: &str,
    number: T,
    range: &RangeInclusive<T>,
) -> Result<T, ApiError> {
    if range.contains(&number) { Ok(number) } else { Err(out_of_range(path, &number, range)) }
}

fn out_of_range<T: Display>(path: &str, value: &impl Display, range: &RangeInclusive<T>) -> ApiError {
    let message = format!("`{path}` is {value}, it must be between {} and {}", range.start(), range.end());
    ApiError::invalid("invalid_value", path, message)
}
