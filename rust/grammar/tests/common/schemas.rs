//! Schemas and values at random.

use serde_json::{Map, Value, json};

use super::Random;

const NAMES: [&str; 6] = ["a", "b", "name", "x y", "é", "q\"\n"];
const TEXTS: [&str; 10] =
    ["", "a", "ab", "abc", "é😀", "tab\there", "quote\" \\ /", "a-1", "2024-02-29", "line\n"];
const PATTERNS: [&str; 8] =
    ["^a", "b$", "^[a-c]{1,4}$", r"\d", r"^\w+-\d$", "^(ab|é.)*$", "^[^a]*$", "^a|c$"];
const FORMATS: [&str; 14] = [
    "date",
    "time",
    "date-time",
    "duration",
    "email",
    "hostname",
    "ipv4",
    "ipv6",
    "uuid",
    "uri",
    "uri-reference",
    "json-pointer",
    "relative-json-pointer",
    "int32",
];

/// Returns a schema with definitions that it may refer to.
pub(crate) fn document(random: &mut Random) -> Value {
    let mut schema = schema(random, 3);
    if let Some(object) = schema.as_object_mut() {
        object.insert("$defs".to_owned(), json!({
            "leaf": scalar(random),
            "list": {
                "type": "object",
                "properties": {"value": scalar(random), "next": {"anyOf": [{"$ref": "#/$defs/list"}, {"type": "null"}]}},
                "required": ["value"], "additionalProperties": false,
            },
        }));
    }
    schema
}

fn schema(random: &mut Random, depth: usize) -> Value {
    if depth == 0 || random.one_in(4) {
        return scalar(random);
    }
    match random.below(9) {
        0..=2 => object(random, depth),
        3 | 4 => array(random, depth),
        5 => json!({"anyOf": (0..=random.below(3)).map(|_| schema(random, depth - 1)).collect::<Vec<_>>()}),
        6 => json!({"allOf": (0..=random.below(2)).map(|_| schema(random, depth - 1)).collect::<Vec<_>>()}),
        7 => json!({"oneOf": [
            {"type": "object", "properties": {"kind": {"const": "one"}, "v": schema(random, depth - 1)}, "required": ["kind"]},
            {"type": "object", "properties": {"kind": {"enum": ["two", 2]}, "v": schema(random, depth - 1)}, "required": ["kind", "v"]},
            scalar(random),
        ]}),
        _ => json!({"$ref": *random.pick(&["#/$defs/leaf", "#/$defs/list"])}),
    }
}

fn scalar(random: &mut Random) -> Value {
    match random.below(12) {
        0 => json!({"type": "null"}),
        1 => json!({"type": "boolean"}),
        2 => {
            json!({"type": ["integer", "null"], "minimum": -(random.below(200) as i64), "exclusiveMaximum": random.below(300)})
        }
        3 => json!({"type": "integer", "minimum": 0, "maximum": 10_000, "multipleOf": random.below(9) + 1}),
        4 => json!({"type": "number", "exclusiveMinimum": -1.5, "maximum": random.below(90) as f64 / 4.0}),
        5 => json!({"type": "string"}),
        6 => json!({"type": "string", "minLength": random.below(3), "maxLength": 2 + random.below(6)}),
        7 => json!({"type": "string", "pattern": random.pick(&PATTERNS)}),
        8 => json!({"type": "string", "format": random.pick(&FORMATS)}),
        9 => json!({"enum": [random.pick(&TEXTS), random.below(5), null, true, [1, "a"], {"a": 0.5}]}),
        10 => json!({"const": random.pick(&TEXTS)}),
        _ => match random.below(3) {
            0 => json!({"minimum": 3, "maxLength": 2, "maxItems": 1}),
            1 => json!({"type": "string", "pattern": random.pick(&PATTERNS), "maxLength": 5}),
            _ => json!(true),
        },
    }
}

fn array(random: &mut Random, depth: usize) -> Value {
    let mut out = json!({"type": "array"});
    if random.one_in(3) {
        out["prefixItems"] = (0..=random.below(2)).map(|_| schema(random, depth - 1)).collect();
    }
    if !random.one_in(4) {
        out["items"] = if random.one_in(8) { json!(false) } else { schema(random, depth - 1) };
    }
    if random.one_in(2) {
        out["minItems"] = random.below(3).into();
    }
    if random.one_in(2) {
        out["maxItems"] = (2 + random.below(4)).into();
    }
    out
}

fn object(random: &mut Random, depth: usize) -> Value {
    let mut properties = Map::new();
    for name in NAMES {
        if random.one_in(2) {
            properties.insert(name.to_owned(), schema(random, depth - 1));
        }
    }
    let required: Vec<&str> =
        NAMES.into_iter().filter(|name| properties.contains_key(*name) && random.one_in(2)).collect();
    let mut out = json!({"type": "object", "properties": properties, "required": required});
    match random.below(5) {
        0 | 1 => out["additionalProperties"] = json!(false),
        2 => out["additionalProperties"] = schema(random, depth - 1),
        3 => {
            out["patternProperties"] =
                json!({"^p": schema(random, depth - 1), "^q": schema(random, depth - 1)});
            out["additionalProperties"] = json!(random.one_in(2));
        }
        _ => {}
    }
    if random.one_in(6) {
        out["minProperties"] = random.below(3).into();
    }
    out
}

/// Returns a value that the schema may accept, its members in the order of the schema's. Not all of
/// a schema is looked at.
pub(crate) fn value(schema: &Value, root: &Value, random: &mut Random, depth: usize) -> Value {
    let Some(schema) = schema.as_object() else { return json!(random.below(9)) };
    if depth > 8 {
        return Value::Null;
    }
    if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
        return value(root.pointer(target.trim_start_matches('#')).unwrap(), root, random, depth + 1);
    }
    for keyword in ["anyOf", "oneOf", "allOf"] {
        if let Some(options) = schema.get(keyword).and_then(Value::as_array) {
            return value(random.pick(options), root, random, depth + 1);
        }
    }
    if let Some(value) = schema.get("const") {
        return value.clone();
    }
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        return random.pick(values).clone();
    }
    let kind = match schema.get("type") {
        Some(Value::Array(kinds)) => random.pick(kinds).clone(),
        Some(kind) => kind.clone(),
        None => json!(*random.pick(&["null", "boolean", "integer", "string"])),
    };
    match kind.as_str().unwrap() {
        "null" => Value::Null,
        "boolean" => json!(random.one_in(2)),
        "integer" => json!(random.below(400) as i64 - 150),
        "number" => json!((random.below(4000) as f64 - 1500.0) / 8.0),
        "string" => json!(random.pick(&TEXTS)),
        "array" => {
            let first = schema.get("prefixItems").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
            let rest = schema.get("items").unwrap_or(&Value::Bool(true));
            (0..random.below(5))
                .map(|index| value(first.get(index).unwrap_or(rest), root, random, depth + 1))
                .collect()
        }
        _ => {
            let mut out = Map::new();
            let required = schema.get("required").and_then(Value::as_array);
            for (name, schema) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
                if random.one_in(2) || required.is_some_and(|required| required.iter().any(|one| one == name))
                {
                    out.insert(name.clone(), value(schema, root, random, depth + 1));
                }
            }
            if random.one_in(3) {
                out.insert(
                    "other".to_owned(),
                    value(
                        schema.get("additionalProperties").unwrap_or(&json!(true)),
                        root,
                        random,
                        depth + 1,
                    ),
                );
            }
            out.into()
        }
    }
}

/// Returns the schema with one of the options in the place of each `anyOf` and `oneOf`, but for
/// definitions.
///
/// Members come in the order of the option that accepts them, which need not be the one that a
/// value was made for.
pub(crate) fn choose(schema: &Value, random: &mut Random) -> Value {
    let Some(members) = schema.as_object() else { return schema.clone() };
    for keyword in ["anyOf", "oneOf"] {
        if let Some(options) = members.get(keyword).and_then(Value::as_array) {
            let mut chosen = choose(random.pick(options), random);
            if let (Some(chosen), Some(definitions)) = (chosen.as_object_mut(), members.get("$defs")) {
                chosen.insert("$defs".to_owned(), definitions.clone());
            }
            return chosen;
        }
    }
    let mut out = members.clone();
    for (keyword, value) in &mut out {
        match (keyword.as_str(), value) {
            ("properties" | "patternProperties", Value::Object(schemas)) => {
                schemas.values_mut().for_each(|schema| *schema = choose(schema, random));
            }
            ("prefixItems", Value::Array(schemas)) => {
                schemas.iter_mut().for_each(|schema| *schema = choose(schema, random));
            }
            ("items" | "additionalProperties", schema) => *schema = choose(schema, random),
            _ => {}
        }
    }
    out.into()
}
