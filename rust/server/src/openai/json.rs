//! JSON as strict as the contract asks: valid UTF-8, no duplicate keys, at most [`MAX_DEPTH`]
//! levels and [`MAX_VALUES`] values. Numbers that are not finite and lone surrogates are refused by
//! `serde_json` itself.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::error::ApiError;

/// Maximum arrays and objects inside each other.
pub const MAX_DEPTH: usize = 64;
/// Maximum values in one body. A value takes many times the two bytes that it may have on the wire,
/// so the limit of the body's length does not bound the memory; this is more than the longest
/// prompt of token ids.
pub const MAX_VALUES: usize = 1_000_000;

/// Reads a body that must be an object.
///
/// # Errors
/// `invalid_json`, with the place.
pub fn parse_object(body: &[u8]) -> Result<Map<String, Value>, ApiError> {
    let invalid = |message: String| ApiError::Invalid { code: "invalid_json", param: None, message };
    let text = std::str::from_utf8(body).map_err(|error| invalid(format!("body is not UTF-8: {error}")))?;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let values_left = Cell::new(MAX_VALUES);
    let value = Strict { levels_left: MAX_DEPTH, values_left: &values_left }
        .deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value))
        .map_err(|error| invalid(format!("body is not valid JSON: {error}")))?;
    match value {
        Value::Object(fields) => Ok(fields),
        other => Err(invalid(format!("body is {}, it must be an object", kind_of(&other)))),
    }
}

/// Reads a text inside a body that must be an object, as the arguments of a call are. All such
/// texts of a body share `values_left`.
///
/// # Errors
/// The fault in the text.
pub fn parse_nested_object(text: &str, values_left: &Cell<usize>) -> Result<Map<String, Value>, String> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = Strict { levels_left: MAX_DEPTH, values_left }
        .deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value));
    match value {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(other) => Err(format!("it is {}", kind_of(&other))),
        Err(error) => Err(error.to_string()),
    }
}

/// Returns a value's type, as a message names it.
#[must_use]
pub fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[derive(Clone, Copy)]
struct Strict<'a> {
    levels_left: usize,
    /// Shared by all values of the body.
    values_left: &'a Cell<usize>,
}

impl Strict<'_> {
    fn inner<E: Error>(self) -> Result<Self, E> {
        let levels_left = self.levels_left.checked_sub(1);
        levels_left
            .map(|levels_left| Self { levels_left, ..self })
            .ok_or_else(|| E::custom(format!("more than {MAX_DEPTH} levels")))
    }

    fn count<E: Error>(self) -> Result<(), E> {
        let values_left = self.values_left.get().checked_sub(1);
        let values_left = values_left.ok_or_else(|| E::custom(format!("more than {MAX_VALUES} values")))?;
        self.values_left.set(values_left);
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.count()?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("number is not finite"))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut list = Vec::new();
        while let Some(value) = access.next_element_seed(inner)? {
            list.push(value);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut fields = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            let value = access.next_value_seed(inner)?;
            if fields.contains_key(&key) {
                return Err(A::Error::custom(format!("key `{key}` appears twice")));
            }
            fields.insert(key, value);
        }
        Ok(Value::Object(fields))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Two readers of one ambiguous body (a proxy that checks it, the server that obeys it) must
    /// not see different requests.
    #[test]
    fn what_is_ambiguous_is_refused() {
        for (body, reason) in [
            (r#"{"a":1,"a":2}"#.as_bytes(), "key `a` appears twice"),
            (r#"{"a":[{"b":1,"b":1}]}"#.as_bytes(), "key `b` appears twice"),
            (r#"{"a":1e999}"#.as_bytes(), "number out of range"),
            (r#"{"a":NaN}"#.as_bytes(), "expected value"),
            (r#"{"a":"\ud800"}"#.as_bytes(), "surrogate"),
            (r#"{"a":1} x"#.as_bytes(), "trailing characters"),
            (b"{\"a\":\"\xff\"}".as_slice(), "not UTF-8"),
            (b"[]".as_slice(), "body is a list, it must be an object"),
            (b"".as_slice(), "EOF"),
        ] {
            let error = parse_object(body).unwrap_err();
            assert_eq!(error.code(), "invalid_json");
            let message = error.to_string();
            assert!(
                message.contains(reason) || message.contains("unexpected end of hex escape"),
                "{message}"
            );
        }
    }

    /// A body of brackets must not cost a stack; what real tool schemas nest must pass.
    #[test]
    fn depth_has_a_limit() {
        let nested =
            |levels: usize| format!("{}{}{}", "{\"a\":".repeat(levels - 1), "{}", "}".repeat(levels - 1));
        assert!(parse_object(nested(MAX_DEPTH).as_bytes()).is_ok());
        let error = parse_object(nested(MAX_DEPTH + 1).as_bytes()).unwrap_err();
        assert!(error.to_string().contains("more than 64 levels"), "{error}");
    }

    /// Eight million numbers fit into a body of 16 MiB and would take hundreds of megabytes as
    /// values.
    #[test]
    fn the_number_of_values_has_a_limit() {
        let list = |len: usize| format!("{{\"a\":[1{}]}}", ",1".repeat(len - 1));
        // The object and its list count, too.
        assert!(parse_object(list(MAX_VALUES - 2).as_bytes()).is_ok());
        let error = parse_object(list(MAX_VALUES - 1).as_bytes()).unwrap_err();
        assert!(error.to_string().contains("more than 1000000 values"), "{error}");
    }
}
