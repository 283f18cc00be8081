//! Decides whether two schemas have no value in common, so that `oneOf` means the same as `anyOf`.

use serde_json::{Map, Value};

use super::keywords::is_anything;
use super::path::Path;
use super::references::{Names, Place};

/// Maximum references and properties followed.
const MAX_STEPS: usize = 6;

/// Returns whether it is certain that the two have no value in common.
pub(super) fn are_disjoint<'a>(names: &Names<'a>, left: Place<'a>, right: Place<'a>) -> bool {
    disjoint(names, left, right, 0)
}

fn disjoint<'a>(names: &Names<'a>, left: Place<'a>, right: Place<'a>, steps: usize) -> bool {
    if steps > MAX_STEPS {
        return false;
    }
    if left.schema == &Value::Bool(false) || right.schema == &Value::Bool(false) {
        return true;
    }
    let (Some(a), Some(b)) = (left.schema.as_object(), right.schema.as_object()) else { return false };
    if is_anything(left.schema) || is_anything(right.schema) {
        return false;
    }
    // What a reference and its siblings, or all of several, accept is less than what one of them
    // accepts.
    let parts = |place: Place<'a>, schema: &'a Map<String, Value>| -> Vec<Place<'a>> {
        let reference = schema.get("$ref").and_then(Value::as_str);
        let target = reference.and_then(|target| names.resolve(target, place, &Path::Root("")).ok());
        let all = schema.get("allOf").and_then(Value::as_array).into_iter().flatten();
        target.into_iter().chain(all.map(|schema| place.within(schema))).collect()
    };
    if parts(left, a).into_iter().any(|part| disjoint(names, part, right, steps + 1))
        || parts(right, b).into_iter().any(|part| disjoint(names, left, part, steps + 1))
    {
        return true;
    }
    if names.reference_stands_alone(a) || names.reference_stands_alone(b) {
        return false;
    }
    for keyword in ["anyOf", "oneOf"] {
        let every = |schema: &'a Map<String, Value>, place: Place<'a>, other: Place<'a>| {
            schema.get(keyword).and_then(Value::as_array).is_some_and(|options| {
                options.iter().all(|option| disjoint(names, place.within(option), other, steps + 1))
            })
        };
        if every(a, left, right) || every(b, right, left) {
            return true;
        }
    }
    values_disjoint(a, b) || members_disjoint(names, (left, a), (right, b), steps)
}

/// Compares by type, `const` and `enum`.
fn values_disjoint(a: &Map<String, Value>, b: &Map<String, Value>) -> bool {
    let (left, right) = (values(a), values(b));
    if let (Some(left), Some(right)) = (&left, &right) {
        return !left.iter().any(|value| right.iter().any(|other| are_equal(value, other)));
    }
    let (Some(left), Some(right)) = (types(a, left), types(b, right)) else { return false };
    !left.iter().any(|kind| right.contains(kind))
}

/// Compares by a property that one of them requires and whose schemas are disjoint.
fn members_disjoint<'a>(
    names: &Names<'a>,
    (left, a): (Place<'a>, &'a Map<String, Value>),
    (right, b): (Place<'a>, &'a Map<String, Value>),
    steps: usize,
) -> bool {
    // The values that are not objects must not be in common either.
    let is_object = |schema| types(schema, values(schema)).is_some_and(|types| types == ["object"]);
    if !is_object(a) && !is_object(b) {
        return false;
    }
    let properties = |schema: &'a Map<String, Value>| schema.get("properties").and_then(Value::as_object);
    let required = |schema: &'a Map<String, Value>| schema.get("required").and_then(Value::as_array);
    let names_of = |schema| required(schema).into_iter().flatten().filter_map(Value::as_str);
    let member = |schema: &'a Map<String, Value>, name: &str| {
        let named = properties(schema).and_then(|properties| properties.get(name));
        let closed = schema.get("additionalProperties") == Some(&Value::Bool(false))
            && !schema.contains_key("patternProperties");
        named.or_else(|| schema.get("additionalProperties").filter(|_| closed))
    };
    names_of(a).chain(names_of(b)).any(|name| match (member(a, name), member(b, name)) {
        (Some(one), Some(other)) => disjoint(names, left.within(one), right.within(other), steps + 1),
        (Some(only), None) | (None, Some(only)) => only == &Value::Bool(false),
        (None, None) => false,
    })
}

/// Returns the values that a schema names.
fn values(schema: &Map<String, Value>) -> Option<Vec<&Value>> {
    match (schema.get("const"), schema.get("enum")) {
        (Some(value), _) => Some(vec![value]),
        (None, Some(Value::Array(values))) => Some(values.iter().collect()),
        _ => None,
    }
}

/// Returns the types that a schema accepts, whole numbers being numbers.
fn types<'a>(schema: &'a Map<String, Value>, values: Option<Vec<&'a Value>>) -> Option<Vec<&'a str>> {
    let general = |kind: &'a str| if kind == "integer" { "number" } else { kind };
    match schema.get("type") {
        Some(Value::String(one)) => return Some(vec![general(one)]),
        Some(Value::Array(many)) => return many.iter().map(|kind| kind.as_str().map(general)).collect(),
        _ => {}
    }
    Some(values?.into_iter().map(type_of).collect())
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Compares values as JSON Schema does: `1` equals `1.0`.
fn are_equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| are_equal(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(name, a)| b.get(name).is_some_and(|b| are_equal(a, b)))
        }
        _ => a == b,
    }
}
