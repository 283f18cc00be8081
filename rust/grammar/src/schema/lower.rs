//! Rewrites schemas one by one, keyword by keyword.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;
use serde_json::{Map, Value, json};

use super::DEFINITION;
use super::constants::check_value;
use super::disjoint::are_disjoint;
use super::keywords::{array, string};
use super::numbers::number_keyword;
use super::path::Path;
use super::references::{Names, Place};
use crate::error::GrammarError;
use crate::limits::{
    MAX_ALTERNATIVES, MAX_DEPTH, MAX_PATTERN_BYTES, MAX_REFERENCES, MAX_SCHEMA_NODES, check,
};
use crate::pattern;

/// A schema that is being rewritten.
pub(super) struct Lowering<'a> {
    names: Names<'a>,
    /// Targets of references by address, in the order in which they were found.
    definitions: FxHashMap<*const Value, usize>,
    todo: VecDeque<(Place<'a>, String)>,
    num_nodes: usize,
    num_pattern_bytes: usize,
}

/// A rewritten schema.
#[derive(Default)]
pub(super) struct Lowered {
    pub(super) schema: Map<String, Value>,
    /// Further schemas that must hold.
    pub(super) all_of: Vec<Value>,
}

impl Lowered {
    pub(super) fn set(&mut self, keyword: &str, value: impl Into<Value>) {
        self.schema.insert(keyword.to_owned(), value.into());
    }

    pub(super) fn into_value(mut self) -> Value {
        if !self.all_of.is_empty() {
            self.schema.insert("allOf".to_owned(), self.all_of.into());
        }
        self.schema.into()
    }
}

impl<'a> Lowering<'a> {
    pub(super) fn new(root: &'a Value) -> Result<Self, GrammarError> {
        let names = Names::collect(root)?;
        let todo = VecDeque::from([(names.root(), String::new())]);
        let definitions = FxHashMap::from_iter([(std::ptr::from_ref(root), 0)]);
        Ok(Self { names, definitions, todo, num_nodes: 0, num_pattern_bytes: 0 })
    }

    /// Rewrites the root and all that it refers to.
    pub(super) fn run(mut self) -> Result<Vec<Value>, GrammarError> {
        let mut lowered = Vec::new();
        while let Some((place, path)) = self.todo.pop_front() {
            lowered.push(self.schema(place, &Path::Root(&path), 0)?);
        }
        Ok(lowered)
    }

    pub(super) fn schema(
        &mut self,
        place: Place<'a>,
        at: &Path<'_>,
        depth: usize,
    ) -> Result<Value, GrammarError> {
        self.count_nodes(1)?;
        check("the depth of the schema", depth, MAX_DEPTH)?;
        let schema = match place.schema {
            Value::Bool(any) => return Ok(Value::Bool(*any)),
            Value::Object(schema) => schema,
            _ => return Err(at.invalid("a schema must be an object or a boolean")),
        };
        let mut out = Lowered::default();
        for (keyword, value) in schema {
            if keyword != "$ref" && self.names.reference_stands_alone(schema) {
                continue;
            }
            let here = at.key(keyword);
            match keyword.as_str() {
                "type" => out.set("type", types(value, &here)?),
                "const" => {
                    let num_values = check_value(value, &here, depth)?;
                    self.count_nodes(num_values)?;
                    out.set("const", value.clone());
                }
                "enum" => {
                    let values = array(value, &here)?;
                    if values.is_empty() {
                        return Err(here.invalid("it must have a value"));
                    }
                    let num_values = check_value(value, &here, depth)?;
                    self.count_nodes(num_values)?;
                    out.set("enum", value.clone());
                }
                "$ref" => self.reference(place, string(value, &here)?, &here, &mut out)?,
                "allOf" => {
                    let all = self.list(place, value, &here, depth)?;
                    out.all_of.extend(all);
                }
                "anyOf" => {
                    let any = self.list(place, value, &here, depth)?;
                    out.all_of.push(json!({"anyOf": any}));
                }
                "oneOf" => self.one_of(place, value, at, depth, &mut out)?,
                "not" if value == &Value::Bool(false) => {}
                "if" if !schema.contains_key("then") && !schema.contains_key("else") => {}
                "not" | "if" => return Err(at.unsupported(keyword, "a negation of a schema has no grammar")),
                "$dynamicRef" | "$recursiveRef" => {
                    return Err(at.unsupported(keyword, "only `$ref` is followed"));
                }
                "disallow" | "divisibleBy" | "extends" => {
                    return Err(at.unsupported(keyword, "draft 3 is not followed"));
                }
                _ if self.string_keyword(schema, keyword, value, at, &mut out)? => {}
                _ if number_keyword(schema, keyword, value, at, &mut out)? => {}
                _ if self.array_keyword(place, schema, keyword, value, (at, depth), &mut out)? => {}
                _ if self.object_keyword(place, schema, keyword, value, (at, depth), &mut out)? => {}
                // Unknown keywords, and those that do not restrict values, are annotations.
                _ => {}
            }
        }
        Ok(out.into_value())
    }

    pub(super) fn count_nodes(&mut self, num_more: usize) -> Result<(), GrammarError> {
        self.num_nodes += num_more;
        check("the number of schemas and values in the schema", self.num_nodes, MAX_SCHEMA_NODES)
    }

    pub(super) fn pattern(&mut self, text: &str, at: &Path<'_>) -> Result<String, GrammarError> {
        self.num_pattern_bytes += text.len();
        check("the length of all patterns in bytes", self.num_pattern_bytes, MAX_PATTERN_BYTES)?;
        pattern::in_json_string(text).map_err(|reason| at.unsupported("pattern", reason))
    }

    fn reference(
        &mut self,
        place: Place<'a>,
        reference: &str,
        at: &Path<'_>,
        out: &mut Lowered,
    ) -> Result<(), GrammarError> {
        let target = self.names.resolve(reference, place, at)?;
        let next = self.definitions.len();
        let index = *self.definitions.entry(std::ptr::from_ref(target.schema)).or_insert(next);
        if index == next {
            check("the number of schemas that are referred to", next, MAX_REFERENCES)?;
            self.todo.push_back((target, reference.to_owned()));
        }
        out.all_of.push(json!({"$ref": format!("{DEFINITION}d{index}")}));
        Ok(())
    }

    pub(super) fn list(
        &mut self,
        place: Place<'a>,
        value: &'a Value,
        at: &Path<'_>,
        depth: usize,
    ) -> Result<Vec<Value>, GrammarError> {
        let schemas = array(value, at)?;
        if schemas.is_empty() {
            return Err(at.invalid("it must have a schema"));
        }
        check("the number of schemas in one list", schemas.len(), MAX_ALTERNATIVES)?;
        let schemas = schemas.iter().enumerate();
        schemas
            .map(|(index, schema)| self.schema(place.within(schema), &at.index(index), depth + 1))
            .collect()
    }

    /// Rewrites `oneOf` as `anyOf` if no two of the schemas have a value in common.
    fn one_of(
        &mut self,
        place: Place<'a>,
        value: &'a Value,
        at: &Path<'_>,
        depth: usize,
        out: &mut Lowered,
    ) -> Result<(), GrammarError> {
        let lowered = self.list(place, value, &at.key("oneOf"), depth)?;
        let schemas = array(value, at)?;
        for (index, one) in schemas.iter().enumerate() {
            self.count_nodes(schemas.len() - index)?;
            for (more, other) in schemas[index + 1..].iter().enumerate() {
                if !are_disjoint(&self.names, place.within(one), place.within(other)) {
                    let other = index + 1 + more;
                    let reason =
                        format!("its schemas {index} and {other} may accept the same value, use `anyOf`");
                    return Err(at.unsupported("oneOf", reason));
                }
            }
        }
        out.all_of.push(json!({"anyOf": lowered}));
        Ok(())
    }
}

/// Reads a type, or a list of types.
fn types(value: &Value, at: &Path<'_>) -> Result<Value, GrammarError> {
    let known = |value: &Value| {
        let kinds = ["null", "boolean", "integer", "number", "string", "array", "object"];
        value.as_str().is_some_and(|kind| kinds.contains(&kind))
    };
    let valid = match value {
        Value::Array(types) => !types.is_empty() && types.iter().all(known),
        _ => known(value),
    };
    if valid { Ok(value.clone()) } else { Err(at.invalid(format!("{value} is not a type"))) }
}
