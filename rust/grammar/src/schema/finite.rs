//! Checks that an answer can come to an end.

use rustc_hash::FxHashSet;
use serde_json::Value;

use super::DEFINITION;
use crate::error::GrammarError;

/// Refuses a schema with a part whose values never end, such as a list node that must have a next
/// one.
///
/// Such a part is a trap even if optional: a model that enters it never leaves.
pub(super) fn check(definitions: &[Value]) -> Result<(), GrammarError> {
    let mut finite = FxHashSet::default();
    loop {
        let known = finite.len();
        for (index, schema) in definitions.iter().enumerate() {
            if !finite.contains(&index) && can_end(schema, &finite) {
                finite.insert(index);
            }
        }
        if finite.len() == definitions.len() {
            return Ok(());
        }
        if finite.len() == known {
            return Err(GrammarError::Invalid {
                path: "$ref".to_owned(),
                reason: "a schema requires itself, so that its values have no end".to_owned(),
            });
        }
    }
}

/// Returns whether a value exists, if those definitions have one.
fn can_end(schema: &Value, finite: &FxHashSet<usize>) -> bool {
    let Some(schema) = schema.as_object() else { return true };
    let index = |target: &str| target.strip_prefix(DEFINITION)?.strip_prefix('d')?.parse::<usize>().ok();
    let target = schema.get("$ref").and_then(Value::as_str).and_then(index);
    if target.is_some_and(|target| !finite.contains(&target)) {
        return false;
    }
    let list = |keyword: &str| schema.get(keyword).and_then(Value::as_array).into_iter().flatten();
    if !list("allOf").all(|schema| can_end(schema, finite)) {
        return false;
    }
    if schema.contains_key("anyOf") && !list("anyOf").any(|schema| can_end(schema, finite)) {
        return false;
    }
    let only = |kind: &str| {
        schema.get("type").is_some_and(|types| types == kind || types == &serde_json::json!([kind]))
    };
    if only("object") {
        let property = |name: &Value| schema.get("properties")?.get(name.as_str()?);
        let others = schema.get("additionalProperties").filter(|others| others.is_object());
        return list("required")
            .all(|name| property(name).or(others).is_none_or(|schema| can_end(schema, finite)));
    }
    if only("array") {
        let min = schema.get("minItems").and_then(Value::as_u64).unwrap_or(0) as usize;
        let num_first = list("prefixItems").count();
        let first = list("prefixItems").take(min).all(|schema| can_end(schema, finite));
        let rest = schema.get("items").is_none_or(|schema| can_end(schema, finite));
        return first && (rest || min <= num_first);
    }
    true
}
