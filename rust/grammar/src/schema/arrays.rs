//! Keywords about arrays.

use serde_json::{Map, Value};

use super::keywords::{Types, count, is_anything};
use super::lower::{Lowered, Lowering};
use super::path::Path;
use super::references::Place;
use crate::error::GrammarError;

/// Schemas beside which it depends on the value what `unevaluatedItems` has to look at.
const IN_PLACE: [&str; 6] = ["allOf", "anyOf", "oneOf", "$ref", "contains", "if"];

impl<'a> Lowering<'a> {
    pub(super) fn array_keyword(
        &mut self,
        place: Place<'a>,
        schema: &'a Map<String, Value>,
        keyword: &str,
        value: &'a Value,
        (at, depth): (&Path<'_>, usize),
        out: &mut Lowered,
    ) -> Result<bool, GrammarError> {
        let here = at.key(keyword);
        let applies = Types::of(schema).allow("array");
        match (keyword, value) {
            ("minItems" | "maxItems", _) => out.set(keyword, count(value, &here)?),
            // What drafts before 2020 say with an array and `additionalItems`.
            ("items", Value::Array(first)) => {
                let first = first.iter().enumerate();
                let lowered: Result<Vec<_>, _> = first
                    .map(|(index, one)| self.schema(place.within(one), &here.index(index), depth + 1))
                    .collect();
                out.set("prefixItems", lowered?);
                if let Some(rest) = schema.get("additionalItems") {
                    out.set("items", self.schema(place.within(rest), &at.key("additionalItems"), depth + 1)?);
                }
            }
            ("items", _) => out.set("items", self.schema(place.within(value), &here, depth + 1)?),
            ("prefixItems", _) if schema.get("items").is_some_and(Value::is_array) => {
                return Err(at.unsupported("prefixItems", "`items` is an array as well"));
            }
            ("prefixItems", _) => {
                let first = self.list(place, value, &here, depth)?;
                out.set("prefixItems", first);
            }
            ("uniqueItems", Value::Bool(true)) if applies => {
                let one = schema.get("maxItems").and_then(Value::as_u64).is_some_and(|max| max <= 1);
                if !one {
                    return Err(at.unsupported("uniqueItems", "a grammar does not remember values"));
                }
            }
            ("contains", _) if applies => {
                let optional = schema.get("minContains").and_then(Value::as_u64) == Some(0);
                if !optional || schema.contains_key("maxContains") {
                    return Err(at.unsupported("contains", "a grammar does not count values"));
                }
            }
            ("unevaluatedItems", _) if applies && !is_anything(value) => {
                if schema.get("items").is_some_and(|items| !items.is_array())
                    || schema.contains_key("additionalItems")
                {
                    return Ok(true);
                }
                if IN_PLACE.iter().any(|keyword| schema.contains_key(*keyword)) {
                    return Err(
                        at.unsupported(keyword, "beside schemas that hold in place it depends on the value")
                    );
                }
                out.set("items", self.schema(place.within(value), &here, depth + 1)?);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}
