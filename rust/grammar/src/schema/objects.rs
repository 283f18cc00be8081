//! Keywords about objects.

use serde_json::{Map, Value, json};

use super::constants::check_text;
use super::keywords::{Types, array, count, is_anything, object, string};
use super::lower::{Lowered, Lowering};
use super::path::Path;
use super::references::Place;
use crate::error::GrammarError;
use crate::limits::{MAX_PROPERTIES, check};
use crate::pattern;

/// Keywords beside which the members that an object's keywords cover depend on the value.
const IN_PLACE: [&str; 6] = ["allOf", "anyOf", "oneOf", "$ref", "dependentSchemas", "if"];

impl<'a> Lowering<'a> {
    pub(super) fn object_keyword(
        &mut self,
        place: Place<'a>,
        schema: &'a Map<String, Value>,
        keyword: &str,
        value: &'a Value,
        (at, depth): (&Path<'_>, usize),
        out: &mut Lowered,
    ) -> Result<bool, GrammarError> {
        let here = at.key(keyword);
        let applies = Types::of(schema).allow("object");
        match keyword {
            "properties" => {
                let properties = object(value, &here)?;
                check("the number of properties of one object", properties.len(), MAX_PROPERTIES)?;
                check_names(properties.keys().map(String::as_str), &here)?;
                let lowered: Result<Map<_, _>, _> = properties
                    .iter()
                    .map(|(name, schema)| {
                        Ok((name.clone(), self.schema(place.within(schema), &here.key(name), depth + 1)?))
                    })
                    .collect();
                out.set("properties", lowered?);
            }
            "required" if value.is_boolean() => return Err(here.invalid("it must be an array")),
            "required" => {
                for (index, name) in array(value, &here)?.iter().enumerate() {
                    check_names([string(name, &here.index(index))?], &here)?;
                }
                self.count_nodes(array(value, &here)?.len())?;
                out.set("required", value.clone());
            }
            // `propertyNames` writes it otherwise.
            "additionalProperties" if out.schema.contains_key("additionalProperties") => {}
            "additionalProperties" => {
                out.set("additionalProperties", self.schema(place.within(value), &here, depth + 1)?);
            }
            "patternProperties" => self.pattern_properties(place, value, (at, depth), out)?,
            "unevaluatedProperties" if applies && !is_anything(value) => {
                if schema.contains_key("additionalProperties") {
                    return Ok(true);
                }
                if IN_PLACE.iter().any(|keyword| schema.contains_key(*keyword)) {
                    return Err(
                        at.unsupported(keyword, "beside schemas that hold in place it depends on the value")
                    );
                }
                out.set("additionalProperties", self.schema(place.within(value), &here, depth + 1)?);
            }
            "propertyNames" if applies => self.property_names(place, schema, value, (at, depth), out)?,
            "minProperties" if applies => min_properties(schema, value, at, out)?,
            "maxProperties" if applies => max_properties(schema, value, at, out)?,
            "dependentRequired" | "dependentSchemas" | "dependencies" if applies => {
                if !object(value, &here)?.is_empty() {
                    return Err(at.unsupported(
                        keyword,
                        "members come in a fixed order, so that none depends on a later one",
                    ));
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn pattern_properties(
        &mut self,
        place: Place<'a>,
        value: &'a Value,
        (at, depth): (&Path<'_>, usize),
        out: &mut Lowered,
    ) -> Result<(), GrammarError> {
        let here = at.key("patternProperties");
        let mut lowered = Map::new();
        for (pattern, schema) in object(value, &here)? {
            let name = self.pattern(pattern, &here)?;
            let schema = self.schema(place.within(schema), &here.key(pattern), depth + 1)?;
            if lowered.insert(name, schema).is_some() {
                return Err(at.unsupported("patternProperties", "two of its patterns mean the same"));
            }
        }
        let patterns: Vec<_> = lowered.keys().map(String::as_str).collect();
        pattern::check_disjoint(&patterns).map_err(|reason| at.unsupported("patternProperties", reason))?;
        out.set("patternProperties", lowered);
        Ok(())
    }

    /// Rewrites `propertyNames` as members that match a pattern, and no others.
    fn property_names(
        &mut self,
        place: Place<'a>,
        schema: &'a Map<String, Value>,
        value: &'a Value,
        (at, depth): (&Path<'_>, usize),
        out: &mut Lowered,
    ) -> Result<(), GrammarError> {
        let here = at.key("propertyNames");
        let names = match value {
            Value::Bool(true) => return Ok(()),
            Value::Bool(false) => {
                out.set("additionalProperties", false);
                return self.only_alone(schema, at);
            }
            _ => object(value, &here)?,
        };
        let mut pattern = None;
        for (keyword, value) in names {
            let texts = match keyword.as_str() {
                "type" if value == "string" => continue,
                "pattern" => {
                    if pattern.replace(self.pattern(string(value, &here)?, &here)?).is_some() {
                        return Err(at.unsupported("propertyNames", "one keyword about names is enforced"));
                    }
                    continue;
                }
                "const" => vec![value],
                "enum" => array(value, &here.key("enum"))?.iter().collect(),
                "title" | "description" | "$comment" => continue,
                _ => {
                    return Err(here.unsupported(keyword, "of a name its pattern or its values are enforced"));
                }
            };
            let texts: Vec<_> = texts.into_iter().filter_map(Value::as_str).collect();
            check_names(texts.iter().copied(), &here)?;
            let any: Vec<_> = texts.into_iter().map(regex_syntax::escape).collect();
            if pattern.replace(format!("^(?:{})$", any.join("|"))).is_some() {
                return Err(at.unsupported("propertyNames", "one keyword about names is enforced"));
            }
        }
        let Some(pattern) = pattern else { return Ok(()) };
        self.only_alone(schema, at)?;
        let others = match schema.get("additionalProperties") {
            Some(others) => self.schema(place.within(others), &at.key("additionalProperties"), depth + 1)?,
            None => Value::Bool(true),
        };
        out.set("patternProperties", json!({pattern: others}));
        out.set("additionalProperties", false);
        Ok(())
    }

    /// Refuses `propertyNames` beside keywords about the same members.
    fn only_alone(&self, schema: &Map<String, Value>, at: &Path<'_>) -> Result<(), GrammarError> {
        let beside = ["properties", "patternProperties", "required", "unevaluatedProperties"];
        match beside.iter().find(|keyword| schema.contains_key(**keyword)) {
            None => Ok(()),
            Some(other) => Err(at.unsupported("propertyNames", format!("`{other}` stands beside it"))),
        }
    }
}

/// Returns the names of members, or of those that must be there.
fn check_names<'v>(names: impl IntoIterator<Item = &'v str>, at: &Path<'_>) -> Result<(), GrammarError> {
    names.into_iter().try_for_each(|name| check_text(name, at))
}

/// Returns the number of members that must be there, and that of those that may.
fn members(schema: &Map<String, Value>) -> (u64, u64) {
    let required = schema.get("required").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let mut names: Vec<_> = required.iter().filter_map(Value::as_str).collect();
    names.sort_unstable();
    names.dedup();
    let properties = schema.get("properties").and_then(Value::as_object);
    let optional = properties.into_iter().flatten().filter(|(name, _)| !names.contains(&name.as_str()));
    (names.len() as u64, optional.count() as u64)
}

/// Returns whether there are no members but those named.
fn is_closed(schema: &Map<String, Value>) -> bool {
    !schema.contains_key("patternProperties")
        && schema.get("additionalProperties") == Some(&Value::Bool(false))
}

fn min_properties(
    schema: &Map<String, Value>,
    value: &Value,
    at: &Path<'_>,
    out: &mut Lowered,
) -> Result<(), GrammarError> {
    let min = count(value, &at.key("minProperties"))?;
    let (num_required, num_optional) = members(schema);
    if min <= num_required {
        return Ok(());
    }
    // A name could be said twice, so that two further members are not counted right.
    if min - num_required > 1 || (num_optional > 0 && !is_closed(schema)) {
        return Err(
            at.unsupported("minProperties", "a grammar does not count different names, use `required`")
        );
    }
    out.set("minProperties", min);
    Ok(())
}

fn max_properties(
    schema: &Map<String, Value>,
    value: &Value,
    at: &Path<'_>,
    out: &mut Lowered,
) -> Result<(), GrammarError> {
    let max = count(value, &at.key("maxProperties"))?;
    let (num_required, num_optional) = members(schema);
    let never_reached = is_closed(schema) && num_required + num_optional <= max;
    if never_reached {
        return Ok(());
    }
    if num_optional > 0 && !(is_closed(schema) && max == num_required + 1) {
        return Err(at.unsupported("maxProperties", "a grammar does not count names, make them required"));
    }
    out.set("maxProperties", max);
    Ok(())
}
