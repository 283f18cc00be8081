//! The tests of Jinja: the operands of `is`.

use super::arguments::Args;
use super::ast::{BinaryOp, CompareOp};
use super::characters::is_of;
use super::error::{Result, fail};
use super::filters::FILTERS;
use super::interpreter::Interpreter;
use super::operators::{binary, compare};
use super::repr::text_of;
use super::value::{Key, Value, contains, equal};

pub(super) const TESTS: &[&str] = &[
    "odd",
    "even",
    "divisibleby",
    "defined",
    "undefined",
    "filter",
    "test",
    "none",
    "boolean",
    "false",
    "true",
    "integer",
    "float",
    "lower",
    "upper",
    "string",
    "mapping",
    "number",
    "sequence",
    "iterable",
    "callable",
    "sameas",
    "escaped",
    "in",
    "==",
    "eq",
    "equalto",
    "!=",
    "ne",
    ">",
    "gt",
    "greaterthan",
    "ge",
    ">=",
    "<",
    "lt",
    "lessthan",
    "<=",
    "le",
];

impl Interpreter<'_> {
    /// `value is name(arguments)`
    pub(super) fn test(&mut self, name: &str, value: &Value, args: Args) -> Result<bool> {
        if let Some(operator) = comparison(name) {
            let [other] = args.bind(name, ["*other"], 1)?;
            return compare(operator, value, &other.unwrap_or(Value::None));
        }
        match name {
            "divisibleby" => {
                let [divisor] = args.bind(name, ["num"], 1)?;
                let rest = binary(BinaryOp::Mod, value, &divisor.unwrap_or(Value::None))?;
                return Ok(equal(&rest, &Value::Int(0)));
            }
            "in" => {
                let [container] = args.bind(name, ["seq"], 1)?;
                return contains(&container.unwrap_or(Value::None), value);
            }
            "sameas" => {
                let [other] = args.bind(name, ["other"], 1)?;
                return Ok(is_same(value, &other.unwrap_or(Value::None)));
            }
            _ if !TESTS.contains(&name) => return fail(format!("there is no test `{name}`")),
            _ => args.none(name)?,
        }
        Ok(match name {
            "odd" | "even" => {
                let rest = binary(BinaryOp::Mod, value, &Value::Int(2))?;
                equal(&rest, &Value::Int(i128::from(name == "odd")))
            }
            "defined" => !value.is_undefined(),
            "undefined" => value.is_undefined(),
            "filter" | "test" => {
                Key::new(value.clone())?;
                let names = if name == "filter" { FILTERS } else { TESTS };
                value.as_str().is_some_and(|name| names.contains(&name))
            }
            "none" => matches!(value, Value::None),
            "boolean" => matches!(value, Value::Bool(_)),
            "false" => matches!(value, Value::Bool(false)),
            "true" => matches!(value, Value::Bool(true)),
            "integer" => matches!(value, Value::Int(_)),
            "float" => matches!(value, Value::Float(_)),
            "number" => value.as_float().is_some(),
            "lower" => is_of(&text_of(value), "islower") == Some(true),
            "upper" => is_of(&text_of(value), "isupper") == Some(true),
            "string" => value.as_str().is_some(),
            "mapping" => matches!(value, Value::Dict(_)),
            "sequence" => value.len().is_some() && !matches!(value, Value::View(..) | Value::Loop(_)),
            "iterable" => value.len().is_some() || matches!(value, Value::Iterator(_)),
            "callable" => {
                matches!(value, Value::Function(_) | Value::Joiner(_) | Value::Loop(_) | Value::Undefined(_))
            }
            _ => matches!(value, Value::Str(text) if text.is_safe),
        })
    }
}

fn comparison(name: &str) -> Option<CompareOp> {
    Some(match name {
        "==" | "eq" | "equalto" => CompareOp::Eq,
        "!=" | "ne" => CompareOp::Ne,
        ">" | "gt" | "greaterthan" => CompareOp::Greater,
        ">=" | "ge" => CompareOp::GreaterEq,
        "<" | "lt" | "lessthan" => CompareOp::Less,
        "<=" | "le" => CompareOp::LessEq,
        _ => return None,
    })
}

/// Python's `is`: equal values of one type where there is only one of each, as small numbers;
/// containers that are one.
fn is_same(left: &Value, right: &Value) -> bool {
    use std::rc::Rc;
    match (left, right) {
        (Value::List(left), Value::List(right)) | (Value::Tuple(left), Value::Tuple(right)) => {
            Rc::ptr_eq(left, right)
        }
        (Value::Dict(left), Value::Dict(right)) => Rc::ptr_eq(left, right),
        (Value::View(..) | Value::Range(_), _) => false,
        _ => left.type_name() == right.type_name() && equal(left, right),
    }
}
