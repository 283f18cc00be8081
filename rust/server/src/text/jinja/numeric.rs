//! Converts texts to numbers, and rounds numbers.

use super::error::{Error, Result, fail};
use super::operators::defined;
use super::scan::is_space;
use super::value::Value;

/// Converts like the filter `int`; `None` if the value is not a number.
pub(super) fn int_of(value: &Value, base: i128) -> Result<Option<i128>> {
    defined(value)?;
    match value {
        Value::Str(text) => {
            if !(base == 0 || (2..=36).contains(&base)) {
                return Ok(parse_float(&text.text).and_then(truncated));
            }
            Ok(parse_int(&text.text, base).or_else(|| parse_float(&text.text).and_then(truncated)))
        }
        Value::Float(number) if number.is_infinite() => fail("cannot convert float infinity to integer"),
        Value::Float(number) => match truncated(*number) {
            None if number.is_finite() => fail("a whole number is too large, limit is 2 ** 127 - 1"),
            number => Ok(number),
        },
        other => Ok(other.as_int()),
    }
}

fn truncated(number: f64) -> Option<i128> {
    (number.abs() < 1.7e38).then_some(number.trunc() as i128)
}

/// Returns a number in digits with single underscores between them; the base may be named in front.
fn parse_int(text: &str, base: i128) -> Option<i128> {
    let text = text.trim_matches(is_space);
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let prefix = digits.get(..2).and_then(|prefix| match &*prefix.to_ascii_lowercase() {
        "0b" => Some(2),
        "0o" => Some(8),
        "0x" => Some(16),
        _ => None,
    });
    let (digits, radix) = match prefix {
        Some(radix) if base == 0 || base == radix => {
            (digits[2..].strip_prefix('_').unwrap_or(&digits[2..]), radix)
        }
        _ if base == 0 => {
            let is_zero = digits.trim_start_matches(['0', '_']).is_empty();
            (if digits.starts_with('0') && !is_zero { "" } else { digits }, 10)
        }
        _ => (digits, base),
    };
    let digits = without_underscores(digits)?;
    if digits.starts_with(['+', '-']) {
        return None;
    }
    i128::from_str_radix(&format!("{sign}{digits}"), u32::try_from(radix).ok()?).ok()
}

fn without_underscores(digits: &str) -> Option<String> {
    let is_wrong = digits.starts_with('_') || digits.ends_with('_') || digits.contains("__");
    (!is_wrong).then(|| digits.replace('_', ""))
}

/// Converts like the filter `float`; `None` if the value is not a number.
pub(super) fn float_of(value: &Value) -> Result<Option<f64>> {
    defined(value)?;
    Ok(match value {
        Value::Str(text) => parse_float(&text.text),
        other => other.as_float(),
    })
}

pub(super) fn parse_float(text: &str) -> Option<f64> {
    let text = text.trim_matches(is_space);
    // Underscores stand between digits only.
    let chars: Vec<char> = text.chars().collect();
    let is_digit = |index: usize| chars.get(index).is_some_and(char::is_ascii_digit);
    let is_wrong = |(index, char): (usize, &char)| {
        *char == '_' && !(index > 0 && is_digit(index - 1) && is_digit(index + 1))
    };
    if chars.iter().enumerate().any(is_wrong) {
        return None;
    }
    text.replace('_', "").parse().ok()
}

/// Applies the filter `round`; a whole number stays whole when rounded to the nearest.
pub(super) fn round(value: &Value, precision: Option<i128>, method: &str) -> Result<Value> {
    defined(value)?;
    let digits = precision.unwrap_or(0);
    if !(-300..=300).contains(&digits) {
        return fail(format!("cannot round to {digits} digits, limit is 300"));
    }
    let digits = digits as i32;
    let Some(number) = value.as_float() else {
        return fail(format!("type `{}` cannot be rounded", value.type_name()));
    };
    if method == "ceil" || method == "floor" {
        let scaled = number * 10_f64.powi(digits);
        if !scaled.is_finite() {
            return fail("cannot convert float infinity or NaN to integer");
        }
        let whole = if method == "ceil" { scaled.ceil() } else { scaled.floor() };
        // The quotient of whole numbers has no minus in front of a zero.
        return Ok(Value::Float((whole + 0.0) / 10_f64.powi(digits)));
    }
    if method != "common" {
        return fail("the method of `round` must be `common`, `ceil` or `floor`");
    }
    if let Some(whole) = value.as_int() {
        let rounded = if digits < 0 { rounded_int(whole, digits.unsigned_abs(), false) } else { Some(whole) };
        return rounded.map(Value::Int).ok_or_else(|| Error::new("a rounded number is too large"));
    }
    if digits >= 0 && number.is_finite() {
        let text = format!("{number:.*}", digits as usize);
        let rounded = text.parse().unwrap_or(number);
        return if precision.is_none() {
            Ok(Value::Int(truncated(rounded).unwrap_or(0)))
        } else {
            Ok(Value::Float(rounded))
        };
    }
    let whole = truncated(number).filter(|_| number.is_finite());
    let Some(whole) = whole else { return Ok(Value::Float(number)) };
    let rounded = rounded_int(whole, digits.unsigned_abs(), number.fract() != 0.0);
    Ok(Value::Float(rounded.map_or(0.0, |rounded| rounded as f64).copysign(number)))
}

/// Rounds to a multiple of a power of ten; of two that are equally near, the even one. `has_rest`
/// says that the number was a little more.
fn rounded_int(number: i128, digits: u32, has_rest: bool) -> Option<i128> {
    let Some(unit) = 10_i128.checked_pow(digits) else { return Some(0) };
    let magnitude = number.checked_abs()?;
    let (quotient, rest) = (magnitude / unit, magnitude % unit);
    let is_up = rest > unit - rest || (rest == unit - rest && (has_rest || quotient % 2 == 1));
    let rounded = (quotient + i128::from(is_up)).checked_mul(unit)?;
    Some(if number < 0 { -rounded } else { rounded })
}
