//! Keywords of schemas, and their values.

use serde_json::{Map, Value};

use super::path::Path;
use crate::error::GrammarError;
use crate::limits::MAX_COUNT;

/// The types that a schema names, or all.
pub(super) struct Types<'a>(Option<Vec<&'a str>>);

impl<'a> Types<'a> {
    pub(super) fn of(schema: &'a Map<String, Value>) -> Self {
        Self(match schema.get("type") {
            Some(Value::String(one)) => Some(vec![one]),
            Some(Value::Array(many)) => Some(many.iter().filter_map(Value::as_str).collect()),
            _ => None,
        })
    }

    /// Returns whether a value of this type can be valid, so that keywords about the type have an
    /// effect.
    pub(super) fn allow(&self, kind: &str) -> bool {
        self.0.as_ref().is_none_or(|types| types.contains(&kind))
    }
}

/// Returns the schemas under the keywords of all drafts, for a walk over all schemas.
pub(super) fn subschemas<'a>(schema: &'a Map<String, Value>) -> impl Iterator<Item = &'a Value> {
    schema.iter().flat_map(|(keyword, value)| -> Box<dyn Iterator<Item = &'a Value> + 'a> {
        match (keyword.as_str(), value) {
            ("allOf" | "anyOf" | "oneOf" | "prefixItems" | "items", Value::Array(schemas)) => {
                Box::new(schemas.iter())
            }
            (
                "$defs" | "definitions" | "properties" | "patternProperties" | "dependentSchemas",
                Value::Object(schemas),
            ) => Box::new(schemas.values()),
            (
                "additionalItems"
                | "additionalProperties"
                | "contains"
                | "else"
                | "if"
                | "items"
                | "not"
                | "propertyNames"
                | "then"
                | "unevaluatedItems"
                | "unevaluatedProperties",
                Value::Object(_),
            ) => Box::new(std::iter::once(value)),
            _ => Box::new(std::iter::empty()),
        }
    })
}

/// Returns whether a schema accepts everything, as far as can be seen at once.
pub(super) fn is_anything(schema: &Value) -> bool {
    schema == &Value::Bool(true) || schema.as_object().is_some_and(Map::is_empty)
}

/// Reads a number of characters, elements or members.
pub(super) fn count(value: &Value, at: &Path<'_>) -> Result<u64, GrammarError> {
    let whole = value.as_u64().or_else(|| {
        let float = value.as_f64().filter(|float| *float >= 0.0 && float.fract() == 0.0 && *float < 1e15)?;
        Some(float as u64)
    });
    let count = whole.ok_or_else(|| at.invalid("it must be a whole number, not below 0"))?;
    if count > MAX_COUNT {
        return Err(GrammarError::TooLarge {
            what: "a number of characters or elements",
            value: count,
            limit: MAX_COUNT,
        });
    }
    Ok(count)
}

pub(super) fn object<'a>(value: &'a Value, at: &Path<'_>) -> Result<&'a Map<String, Value>, GrammarError> {
    value.as_object().ok_or_else(|| at.invalid("it must be an object"))
}

pub(super) fn array<'a>(value: &'a Value, at: &Path<'_>) -> Result<&'a Vec<Value>, GrammarError> {
    value.as_array().ok_or_else(|| at.invalid("it must be an array"))
}

pub(super) fn string<'a>(value: &'a Value, at: &Path<'_>) -> Result<&'a str, GrammarError> {
    value.as_str().ok_or_else(|| at.invalid("it must be a string"))
}
