//! Strings and numbers that a schema names.

use serde_json::{Number, Value};

use super::path::Path;
use crate::error::GrammarError;
use crate::limits::{MAX_DEPTH, check};
use crate::pattern::is_sayable;

/// Whole numbers up to here, and digits up to 15, are exact as the floats that llguidance reckons
/// with.
pub(super) const MAX_EXACT: u64 = 1 << 53;
const MAX_EXACT_FLOAT: f64 = 1e15;
const MAX_DECIMALS: usize = 15;

/// Checks a value of `const` or `enum`; returns the number of values in it.
pub(super) fn check_value(value: &Value, at: &Path<'_>, depth: usize) -> Result<usize, GrammarError> {
    check("the depth of the schema", depth, MAX_DEPTH)?;
    match value {
        Value::Null | Value::Bool(_) => Ok(1),
        Value::Number(number) => check_number(number, at).map(|()| 1),
        Value::String(text) => check_text(text, at).map(|()| 1),
        Value::Array(values) => values
            .iter()
            .enumerate()
            .try_fold(1, |sum, (index, value)| Ok(sum + check_value(value, &at.index(index), depth + 1)?)),
        Value::Object(members) => members.iter().try_fold(1, |sum, (name, value)| {
            check_text(name, at)?;
            Ok(sum + check_value(value, &at.key(name), depth + 1)?)
        }),
    }
}

/// Refuses a text with characters that the grammar cannot say.
pub(super) fn check_text(text: &str, at: &Path<'_>) -> Result<(), GrammarError> {
    match text.chars().find(|char| !is_sayable(*char)) {
        None => Ok(()),
        Some(char) => Err(at.invalid(format!("control character U+{:04X} cannot be enforced", char as u32))),
    }
}

/// Refuses a number that is not exact.
pub(super) fn check_number(number: &Number, at: &Path<'_>) -> Result<(), GrammarError> {
    let exact = match (number.as_i64(), number.as_u64()) {
        (Some(whole), _) => whole.unsigned_abs() <= MAX_EXACT,
        (None, Some(whole)) => whole <= MAX_EXACT,
        (None, None) => number.as_f64().is_some_and(|float| {
            let decimals = float.to_string().split_once('.').map_or(0, |(_, decimals)| decimals.len());
            float.abs() < MAX_EXACT_FLOAT && decimals <= MAX_DECIMALS
        }),
    };
    if exact {
        Ok(())
    } else {
        Err(at.invalid(format!("{number} has too many digits to be enforced exactly")))
    }
}

/// Refuses a divisor that llguidance would round.
pub(super) fn check_divisor(value: &Value, at: &Path<'_>) -> Result<(), GrammarError> {
    let number = value.as_f64().filter(|number| *number > 0.0);
    let number = number.ok_or_else(|| at.invalid("it must be a number above 0"))?;
    // It multiplies by 10 until nothing is left behind the point, which errs for some numbers.
    let text = number.to_string();
    let decimals = text.split_once('.').map_or(0, |(_, decimals)| decimals.len());
    let digits: f64 = text.replace('.', "").parse().unwrap_or(f64::MAX);
    let mut scaled = number;
    let mut steps = 0;
    while scaled.fract() != 0.0 && steps < MAX_DECIMALS {
        scaled *= 10.0;
        steps += 1;
    }
    if scaled == digits && steps == decimals && digits <= f64::from(u32::MAX) {
        return Ok(());
    }
    Err(at.invalid(format!("{value} has too many digits to be enforced exactly")))
}
