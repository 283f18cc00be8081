//! Keywords about numbers.

use serde_json::{Map, Value, json};

use super::constants::{MAX_EXACT, check_divisor, check_number};
use super::lower::Lowered;
use super::path::Path;
use crate::error::GrammarError;

/// Rewrites a keyword about numbers; returns whether it is one.
pub(super) fn number_keyword(
    schema: &Map<String, Value>,
    keyword: &str,
    value: &Value,
    at: &Path<'_>,
    out: &mut Lowered,
) -> Result<bool, GrammarError> {
    let here = at.key(keyword);
    let bound = |value: &Value| match value {
        Value::Number(number) => check_number(number, &here),
        _ => Err(here.invalid("it must be a number")),
    };
    match (keyword, value) {
        // What draft 4 says with a boolean.
        ("exclusiveMinimum" | "exclusiveMaximum", Value::Bool(exclusive)) => {
            let inclusive = if keyword == "exclusiveMinimum" { "minimum" } else { "maximum" };
            if let Some(value) = schema.get(inclusive).filter(|_| *exclusive) {
                bound(value)?;
                out.set(keyword, value.clone());
            }
        }
        ("minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum", _) => {
            bound(value)?;
            out.set(keyword, value.clone());
        }
        ("multipleOf", _) => {
            check_divisor(value, &here)?;
            out.set(keyword, value.clone());
            // Beyond, a reader that holds numbers as floats takes a multiple for none.
            out.all_of.push(json!({"minimum": -(MAX_EXACT as i64), "maximum": MAX_EXACT}));
        }
        _ => return Ok(false),
    }
    Ok(true)
}
