//! The tools of a request, and the types of their parameters.
//!
//! Formats without quotes write `5` for a number and for a string; the schema of the tool says
//! which. A type is looked for in `type` (one or several), `enum`, `const`, `nullable`, `anyOf`,
//! `oneOf`, `allOf` and `$ref` into the same schema; a parameter whose schema says nothing is a
//! string, as in vLLM.

use std::collections::HashMap;

use serde_json::Value;

/// Maximum schemas examined for one parameter: recursive ones would never end.
const MAX_SCHEMAS: u32 = 256;

/// A tool of the request.
#[derive(Debug, Clone)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// The JSON schema of its parameters, if it has one.
    pub parameters: Option<Value>,
}

/// The types that a value may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Types(u8);

impl Types {
    pub(crate) const STRING: Self = Self(1);
    const NULL: Self = Self(2);
    const INTEGER: Self = Self(4);
    const NUMBER: Self = Self(8);
    const BOOLEAN: Self = Self(16);
    const OBJECT: Self = Self(32);
    const ARRAY: Self = Self(64);

    pub(crate) fn has(self, types: Self) -> bool {
        self.0 & types.0 != 0
    }

    fn add(&mut self, types: Self) {
        self.0 |= types.0;
    }

    /// Finds a type by its name in JSON Schema, or a common variant of it.
    fn named(name: &str) -> Self {
        match name {
            "string" | "str" => Self::STRING,
            "null" | "None" => Self::NULL,
            "integer" | "int" => Self::INTEGER,
            "number" | "float" | "double" => Self::NUMBER,
            "boolean" | "bool" => Self::BOOLEAN,
            "object" | "dict" => Self::OBJECT,
            "array" | "list" => Self::ARRAY,
            _ => Self::default(),
        }
    }

    fn of(value: &Value) -> Self {
        match value {
            Value::Null => Self::NULL,
            Value::Bool(_) => Self::BOOLEAN,
            Value::Number(number) if number.is_f64() => Self::NUMBER,
            Value::Number(_) => Self::INTEGER,
            Value::String(_) => Self::STRING,
            Value::Array(_) => Self::ARRAY,
            Value::Object(_) => Self::OBJECT,
        }
    }

    /// Returns a value written without quotes, as JSON. Text that fits no other type is a string.
    pub(crate) fn json(self, text: &str) -> String {
        self.typed(text.trim()).unwrap_or_else(|| Value::from(text).to_string())
    }

    fn typed(self, text: &str) -> Option<String> {
        let is = |word: &str| text.eq_ignore_ascii_case(word);
        if self.has(Self::NULL) && (is("null") || is("none")) {
            return Some("null".to_owned());
        }
        if self.has(Self::BOOLEAN) {
            for (word, digit) in [("true", "1"), ("false", "0")] {
                // A digit is a boolean where it can be no number.
                let is_digit = text == digit && !self.has(Self::INTEGER) && !self.has(Self::NUMBER);
                if is(word) || is_digit {
                    return Some(word.to_owned());
                }
            }
        }
        let is_typed = match serde_json::from_str(text).ok()? {
            Value::Number(_) => {
                self.has(Self::NUMBER) || (self.has(Self::INTEGER) && !text.contains(['.', 'e', 'E']))
            }
            Value::Object(_) => self.has(Self::OBJECT),
            Value::Array(_) => self.has(Self::ARRAY),
            // Quotes are part of a string here.
            Value::Null | Value::Bool(_) | Value::String(_) => false,
        };
        is_typed.then(|| text.to_owned())
    }
}

/// The tools of a request.
#[derive(Debug, Default)]
pub(crate) struct Tools(HashMap<String, Option<Value>>);

impl Tools {
    pub(crate) fn new(tools: Vec<Tool>) -> Self {
        Self(tools.into_iter().map(|tool| (tool.name, tool.parameters)).collect())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Returns the types of a parameter; a string if its schema says nothing.
    pub(crate) fn types(&self, tool: &str, parameter: &str) -> Types {
        self.known_types(tool, parameter).unwrap_or(Types::STRING)
    }

    /// Returns the types of a parameter, if its schema says any.
    pub(crate) fn known_types(&self, tool: &str, parameter: &str) -> Option<Types> {
        let root = self.0.get(tool)?.as_ref()?;
        let (mut types, mut num_left) = (Types::default(), MAX_SCHEMAS);
        collect(root, property(root, root, parameter, &mut num_left)?, &mut types, &mut num_left);
        (types != Types::default()).then_some(types)
    }
}

/// Returns the schema of a property, also where the object is a reference or a combination.
fn property<'a>(root: &'a Value, schema: &'a Value, name: &str, num_left: &mut u32) -> Option<&'a Value> {
    *num_left = num_left.checked_sub(1)?;
    let own = schema.get("properties").and_then(|properties| properties.get(name));
    own.or_else(|| parts(root, schema).find_map(|part| property(root, part, name, num_left)))
        .or_else(|| schema.get("additionalProperties").filter(|others| others.is_object()))
}

fn collect(root: &Value, schema: &Value, types: &mut Types, num_left: &mut u32) {
    let Some(left) = num_left.checked_sub(1) else { return };
    *num_left = left;
    match schema.get("type") {
        Some(Value::String(name)) => types.add(Types::named(name)),
        Some(Value::Array(names)) => {
            names.iter().filter_map(Value::as_str).for_each(|name| types.add(Types::named(name)));
        }
        _ => {
            let examples = schema.get("enum").and_then(Value::as_array).into_iter().flatten();
            examples.chain(schema.get("const")).for_each(|value| types.add(Types::of(value)));
        }
    }
    if schema.get("nullable") == Some(&Value::Bool(true)) {
        types.add(Types::NULL);
    }
    parts(root, schema).for_each(|part| collect(root, part, types, num_left));
}

/// Returns the schemas of which a schema is composed.
fn parts<'a>(root: &'a Value, schema: &'a Value) -> impl Iterator<Item = &'a Value> {
    let combined =
        ["anyOf", "oneOf", "allOf"].into_iter().filter_map(|key| schema.get(key)?.as_array()).flatten();
    let pointer = schema.get("$ref").and_then(Value::as_str).and_then(|path| path.strip_prefix('#'));
    combined.chain(pointer.and_then(|pointer| root.pointer(pointer)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn written(schema: &Value, text: &str) -> Value {
        let parameters = json!({
            "properties": { "x": schema },
            "$defs": {
                "size": { "type": "integer" },
                "loop": { "anyOf": [{ "$ref": "#/$defs/loop" }, { "$ref": "#/$defs/loop" }] },
            },
        });
        let tools = Tools::new(vec![Tool { name: "f".to_owned(), parameters: Some(parameters) }]);
        serde_json::from_str(&tools.types("f", "x").json(text)).expect("a value is JSON")
    }

    /// A tool that wants the string "5" must not get the number, or vice versa.
    #[test]
    fn values_have_the_type_that_the_schema_says() {
        let cases = [
            (json!({ "type": "string" }), "5", json!("5")),
            (json!({ "type": "string" }), "null", json!("null")),
            (json!({ "type": "integer" }), " 5 ", json!(5)),
            (json!({ "type": "integer" }), "5.5", json!("5.5")),
            (json!({ "type": "integer" }), "five", json!("five")),
            (json!({ "type": "number" }), "1e999", json!("1e999")),
            (json!({ "type": "number" }), "-5.5e3", json!(-5.5e3)),
            (json!({ "type": "number" }), "NaN", json!("NaN")),
            (json!({ "type": "boolean" }), "True", json!(true)),
            (json!({ "type": "boolean" }), "0", json!(false)),
            (json!({ "type": ["boolean", "integer"] }), "0", json!(0)),
            (json!({ "type": "null" }), "None", json!(null)),
            (json!({ "type": "object" }), "{\"a\": [1]}", json!({ "a": [1] })),
            (json!({ "type": "object" }), "{'a': 1}", json!("{'a': 1}")),
            (json!({ "type": "array" }), "[1, \"b\"]", json!([1, "b"])),
            (json!({ "type": "array" }), "{}", json!("{}")),
            (json!({ "type": ["string", "null"] }), "null", json!(null)),
            (json!({ "type": ["string", "null"] }), "nul", json!("nul")),
            (json!({ "anyOf": [{ "type": "integer" }, { "type": "string" }] }), "7", json!(7)),
            (json!({ "oneOf": [{ "type": "integer" }, { "type": "null" }] }), "null", json!(null)),
            (json!({ "allOf": [{ "$ref": "#/$defs/size" }] }), "7", json!(7)),
            (json!({ "$ref": "#/$defs/size" }), "7", json!(7)),
            (json!({ "$ref": "#/$defs/loop" }), "7", json!("7")),
            (json!({ "$ref": "https://elsewhere" }), "7", json!("7")),
            (json!({ "enum": [1, 2] }), "2", json!(2)),
            (json!({ "enum": ["1", "2"] }), "2", json!("2")),
            (json!({ "const": true }), "true", json!(true)),
            (json!({ "type": "integer", "nullable": true }), "null", json!(null)),
            (json!({}), "7", json!("7")),
            (json!(true), "7", json!("7")),
        ];
        for (schema, text, expected) in cases {
            assert_eq!(written(&schema, text), expected, "{text} as {schema}");
        }
        assert_eq!(Tools::default().types("f", "x"), Types::STRING);
    }
}
