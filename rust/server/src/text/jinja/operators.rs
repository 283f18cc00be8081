//! Python's operators.

use std::cmp::Ordering;

use super::arguments::check_len;
use super::ast::{BinaryOp, CompareOp};
use super::error::{Error, Result, fail};
use super::html::escape;
use super::printf::printf;
use super::repr::text_of;
use super::value::{Text, Value, View, contains, equal};

/// `left operator right`
pub(super) fn binary(operator: BinaryOp, left: &Value, right: &Value) -> Result<Value> {
    // An undefined value can be printed, also by a format.
    if let (BinaryOp::Mod, Value::Str(format)) = (operator, left) {
        let text = printf(&format.text, right)?;
        return Ok(Value::Str(Text { text: text.into(), is_safe: format.is_safe }));
    }
    defined(left)?;
    defined(right)?;
    match (operator, left, right) {
        (BinaryOp::Add, ..) => {
            if let Some(joined) = joined(left, right) {
                return joined;
            }
        }
        (BinaryOp::Mul, ..) => {
            if let Some(repeated) = repeated(left, right) {
                return repeated;
            }
        }
        _ => {}
    }
    if let (Some(left), Some(right)) = (left.as_int(), right.as_int()) {
        return whole(operator, left, right);
    }
    match (left.as_float(), right.as_float()) {
        (Some(left), Some(right)) => float(operator, left, right),
        _ => fail(format!(
            "unsupported operand types for {}: `{}` and `{}`",
            sign(operator),
            left.type_name(),
            right.type_name()
        )),
    }
}

/// Returns an error if the value is undefined, which can only be printed, tested or iterated.
pub(super) fn defined(value: &Value) -> Result<()> {
    match value {
        Value::Undefined(message) => fail(&**message),
        _ => Ok(()),
    }
}

fn sign(operator: BinaryOp) -> &'static str {
    match operator {
        BinaryOp::Add => "+",
        BinaryOp::Sub => "-",
        BinaryOp::Mul => "*",
        BinaryOp::Div => "/",
        BinaryOp::FloorDiv => "//",
        BinaryOp::Mod => "%",
        BinaryOp::Pow => "**",
    }
}

/// Returns the sum of strings, lists or tuples.
fn joined(left: &Value, right: &Value) -> Option<Result<Value>> {
    let chain = |left: &[Value], right: &[Value]| {
        check_len(left.len() + right.len()).map(|()| [left, right].concat())
    };
    Some(match (left, right) {
        (Value::Str(_), Value::Str(_)) => Ok(concat(&[left.clone(), right.clone()])),
        (Value::List(left), Value::List(right)) => chain(left, right).map(Value::from),
        (Value::Tuple(left) | Value::Group(left), Value::Tuple(right) | Value::Group(right)) => {
            chain(left, right).map(|items| Value::Tuple(items.into()))
        }
        _ => return None,
    })
}

/// `a ~ b ~ c`; if one of them is safe for HTML, the others are escaped.
pub(super) fn concat(parts: &[Value]) -> Value {
    let is_safe = |value: &Value| matches!(value, Value::Str(text) if text.is_safe);
    if parts.iter().any(is_safe) {
        return Value::safe(parts.iter().map(escape).collect());
    }
    match parts {
        [Value::Str(left), Value::Str(right)] => Value::from([&*left.text, &*right.text].concat()),
        _ => Value::from(parts.iter().map(text_of).collect::<String>()),
    }
}

/// Returns a string, list or tuple many times.
fn repeated(left: &Value, right: &Value) -> Option<Result<Value>> {
    let (value, times) = match (left.as_int(), right.as_int()) {
        (None, Some(times)) => (left, times),
        (Some(times), None) => (right, times),
        _ => return None,
    };
    let times = usize::try_from(times.max(0)).unwrap_or(usize::MAX);
    let sized = |len: usize| check_len(len.saturating_mul(times));
    let repeat = |items: &[Value]| std::iter::repeat_n(items, times).flatten().cloned().collect::<Vec<_>>();
    Some(match value {
        Value::Str(text) => sized(text.text.len())
            .map(|()| Value::Str(Text { text: text.text.repeat(times).into(), is_safe: text.is_safe })),
        Value::List(items) => sized(items.len()).map(|()| repeat(items).into()),
        Value::Tuple(items) | Value::Group(items) => {
            sized(items.len()).map(|()| Value::Tuple(repeat(items).into()))
        }
        _ => return None,
    })
}

const TOO_LARGE: &str = "a whole number is too large, limit is 2 ** 127 - 1";

fn whole(operator: BinaryOp, left: i128, right: i128) -> Result<Value> {
    let by_zero = || fail("division by zero");
    let number = match operator {
        BinaryOp::Add => left.checked_add(right),
        BinaryOp::Sub => left.checked_sub(right),
        BinaryOp::Mul => left.checked_mul(right),
        BinaryOp::Div if right == 0 => return by_zero(),
        BinaryOp::Div => return Ok(Value::Float(left as f64 / right as f64)),
        BinaryOp::FloorDiv | BinaryOp::Mod if right == 0 => return by_zero(),
        BinaryOp::FloorDiv => left.checked_div(right).map(|quotient| {
            if left % right != 0 && (left < 0) != (right < 0) { quotient - 1 } else { quotient }
        }),
        BinaryOp::Mod => left
            .checked_rem(right)
            .map(|rest| if rest != 0 && (rest < 0) != (right < 0) { rest + right } else { rest }),
        BinaryOp::Pow if right < 0 => return float(operator, left as f64, right as f64),
        BinaryOp::Pow => power(left, right),
    };
    number.map(Value::Int).ok_or_else(|| Error::new(TOO_LARGE))
}

fn power(base: i128, exponent: i128) -> Option<i128> {
    match base {
        0 | 1 => Some(if exponent == 0 { 1 } else { base }),
        -1 => Some(if exponent % 2 == 0 { 1 } else { -1 }),
        _ => base.checked_pow(u32::try_from(exponent).ok()?),
    }
}

fn float(operator: BinaryOp, left: f64, right: f64) -> Result<Value> {
    if right == 0.0 && matches!(operator, BinaryOp::Div | BinaryOp::FloorDiv | BinaryOp::Mod) {
        return fail("division by zero");
    }
    Ok(Value::Float(match operator {
        BinaryOp::Add => left + right,
        BinaryOp::Sub => left - right,
        BinaryOp::Mul => left * right,
        BinaryOp::Div => left / right,
        BinaryOp::FloorDiv => divided(left, right).0,
        BinaryOp::Mod => divided(left, right).1,
        BinaryOp::Pow if left == 0.0 && right < 0.0 => {
            return fail("0.0 cannot be raised to a negative power");
        }
        BinaryOp::Pow if left < 0.0 && right.is_finite() && right.fract() != 0.0 => {
            return fail("a root of a negative number is not supported");
        }
        BinaryOp::Pow => {
            let power = left.powf(right);
            if power.is_infinite() && left.is_finite() && right.is_finite() {
                return fail("the result of ** is too large");
            }
            power
        }
    }))
}

/// Quotient and remainder, rounded towards minus infinity; the remainder has the sign of the
/// divisor.
fn divided(left: f64, right: f64) -> (f64, f64) {
    let mut rest = left % right;
    let mut quotient = (left - rest) / right;
    if rest == 0.0 {
        rest = 0.0_f64.copysign(right);
    } else if (rest < 0.0) != (right < 0.0) {
        rest += right;
        quotient -= 1.0;
    }
    if quotient == 0.0 {
        return (0.0_f64.copysign(left / right), rest);
    }
    let floor = quotient.floor();
    (if quotient - floor > 0.5 { floor + 1.0 } else { floor }, rest)
}

/// `-value`
pub(super) fn negative(value: &Value) -> Result<Value> {
    match value {
        Value::Float(number) => Ok(Value::Float(-number)),
        other => match (defined(other)?, other.as_int()) {
            ((), Some(number)) => number.checked_neg().map(Value::Int).ok_or_else(|| Error::new(TOO_LARGE)),
            _ => fail(format!("bad operand type for unary -: `{}`", other.type_name())),
        },
    }
}

/// `+value`
pub(super) fn positive(value: &Value) -> Result<Value> {
    match value {
        Value::Float(_) => Ok(value.clone()),
        other => match (defined(other)?, other.as_int()) {
            ((), Some(number)) => Ok(Value::Int(number)),
            _ => fail(format!("bad operand type for unary +: `{}`", other.type_name())),
        },
    }
}

/// `left operator right`, for the operators that compare.
pub(super) fn compare(operator: CompareOp, left: &Value, right: &Value) -> Result<bool> {
    Ok(match operator {
        CompareOp::Eq => equal(left, right),
        CompareOp::Ne => !equal(left, right),
        CompareOp::In => contains(right, left)?,
        CompareOp::NotIn => !contains(right, left)?,
        CompareOp::Less => order(left, right, "<")?.is_some_and(Ordering::is_lt),
        CompareOp::LessEq => order(left, right, "<=")?.is_some_and(Ordering::is_le),
        CompareOp::Greater => order(left, right, ">")?.is_some_and(Ordering::is_gt),
        CompareOp::GreaterEq => order(left, right, ">=")?.is_some_and(Ordering::is_ge),
    })
}

/// Returns which of two comes first; nothing if one is not a number.
pub(super) fn order(left: &Value, right: &Value, operator: &str) -> Result<Option<Ordering>> {
    defined(left)?;
    defined(right)?;
    match (left, right) {
        (Value::Str(left), Value::Str(right)) => return Ok(Some(left.text.cmp(&right.text))),
        (Value::List(left), Value::List(right))
        | (Value::Tuple(left) | Value::Group(left), Value::Tuple(right) | Value::Group(right)) => {
            for (left, right) in left.iter().zip(right.iter()) {
                if !equal(left, right) {
                    return order(left, right, operator);
                }
            }
            return Ok(Some(left.len().cmp(&right.len())));
        }
        (Value::View(View::Keys | View::Items, _), Value::View(View::Keys | View::Items, _)) => {
            return subset_order(left, right);
        }
        _ => {}
    }
    if let (Some(left), Some(right)) = (left.as_int(), right.as_int()) {
        return Ok(Some(left.cmp(&right)));
    }
    match (left.as_float(), right.as_float()) {
        (Some(left), Some(right)) => Ok(left.partial_cmp(&right)),
        _ => fail(format!(
            "`{operator}` not supported between instances of `{}` and `{}`",
            left.type_name(),
            right.type_name()
        )),
    }
}

/// Views are compared as sets: the one that is part of the other comes first.
fn subset_order(left: &Value, right: &Value) -> Result<Option<Ordering>> {
    let is_part = |part: &Value, whole: &Value| -> Result<bool> {
        for item in part.items()? {
            if !contains(whole, &item)? {
                return Ok(false);
            }
        }
        Ok(true)
    };
    Ok(match (is_part(left, right)?, is_part(right, left)?) {
        (true, true) => Some(Ordering::Equal),
        (true, false) => Some(Ordering::Less),
        (false, true) => Some(Ordering::Greater),
        (false, false) => None,
    })
}

/// Sorts by computed keys; equal ones keep their order, also backwards. The standard library's sort
/// may panic without a total order, as with NaN.
pub(super) fn sorted(items: Vec<(Value, Value)>, is_reversed: bool) -> Result<Vec<Value>> {
    Ok(merge_sorted(items, is_reversed)?.into_iter().map(|(_, item)| item).collect())
}

fn merge_sorted(mut left: Vec<(Value, Value)>, is_reversed: bool) -> Result<Vec<(Value, Value)>> {
    if left.len() <= 1 {
        return Ok(left);
    }
    let right = left.split_off(left.len() / 2);
    let mut merged = Vec::with_capacity(left.len() + right.len());
    let mut left = merge_sorted(left, is_reversed)?.into_iter().peekable();
    let mut right = merge_sorted(right, is_reversed)?.into_iter().peekable();
    while let (Some((first, _)), Some((second, _))) = (left.peek(), right.peek()) {
        let (less, more) = if is_reversed { (first, second) } else { (second, first) };
        let is_swapped = order(less, more, "<")?.is_some_and(Ordering::is_lt);
        merged.extend(if is_swapped { right.next() } else { left.next() });
    }
    merged.extend(left);
    merged.extend(right);
    Ok(merged)
}
