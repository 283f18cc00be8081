//! Attributes, items and slices.

use std::rc::Rc;

use super::arguments::{int, optional_int};
use super::error::{Result, fail};
use super::function::{Function, has_method};
use super::operators::defined;
use super::value::{Text, Value};

/// `value.name`: Python's attribute of this name, or else the item of that key.
pub(super) fn attribute(value: &Value, name: &str) -> Result<Value> {
    if !name.starts_with("__") {
        defined(value)?;
    }
    match own_attribute(value, name) {
        Some(found) => Ok(found),
        None => Ok(item_of(value, &Value::from(name))?.unwrap_or_else(|| missing(value, name))),
    }
}

/// `value[key]`: the item, or else Python's attribute of that name.
pub(super) fn item(value: &Value, key: &Value) -> Result<Value> {
    defined(value)?;
    if let Some(found) = item_of(value, key)? {
        return Ok(found);
    }
    match key.as_str() {
        Some(name) => Ok(own_attribute(value, name).unwrap_or_else(|| missing(value, name))),
        None => Ok(Value::undefined(format!(
            "{} object has no element {}",
            value.type_name(),
            super::repr::repr(key)
        ))),
    }
}

fn missing(value: &Value, name: &str) -> Value {
    let object = match value {
        Value::None => "None".to_owned(),
        other => format!("{} object", other.type_name()),
    };
    Value::undefined(format!("'{object}' has no attribute '{name}'"))
}

/// Returns a method, or a field of the values that have some. A private name, or a method that
/// would change the value, is undefined, as in the sandbox.
pub(super) fn own_attribute(value: &Value, name: &str) -> Option<Value> {
    if name.starts_with('_') {
        let message = format!("access to attribute '{name}' of '{}' object is unsafe", value.type_name());
        return matches!(name, "__class__" | "__doc__" | "__init__").then(|| Value::undefined(message));
    }
    if changes(value, name) {
        let message = format!("`{name}` would change the {}, which a template cannot", value.type_name());
        return Some(Value::undefined(message));
    }
    if has_method(value, name) {
        return Some(Value::Function(Function::Method(Rc::new((value.clone(), name.to_owned())))));
    }
    match (value, name) {
        (Value::Group(pair), "grouper") => pair.first().cloned(),
        (Value::Group(pair), "list") => pair.get(1).cloned(),
        (Value::Range(range), "start") => Some(Value::Int(range.start)),
        (Value::Range(range), "stop") => Some(Value::Int(range.stop)),
        (Value::Range(range), "step") => Some(Value::Int(range.step)),
        (Value::Int(_) | Value::Bool(_) | Value::Float(_), "real") => Some(value.clone()),
        (Value::Int(_) | Value::Bool(_), "numerator") => value.as_int().map(Value::Int),
        (Value::Int(_) | Value::Bool(_), "denominator") => Some(Value::Int(1)),
        (Value::Int(_) | Value::Bool(_), "imag") => Some(Value::Int(0)),
        (Value::Float(_), "imag") => Some(Value::Float(0.0)),
        (Value::Namespace(dict), _) => dict.borrow().get_text(name).cloned(),
        (Value::Loop(state), _) => state.attribute(name),
        (Value::Cycler(cycler), "current") => Some(cycler.current()),
        (Value::Function(Function::Macro(closure)), _) => closure.attribute(name),
        _ => None,
    }
}

/// Methods that change their value, which the sandbox hides.
fn changes(value: &Value, name: &str) -> bool {
    let names: &[&str] = match value {
        Value::List(_) => &["append", "clear", "pop", "reverse", "insert", "sort", "extend", "remove"],
        Value::Dict(_) => &["clear", "pop", "popitem", "setdefault", "update"],
        _ => &[],
    };
    names.contains(&name)
}

/// Returns the item of a key, or nothing.
fn item_of(value: &Value, key: &Value) -> Result<Option<Value>> {
    if let Value::Dict(dict) = value {
        // An unhashable key finds nothing.
        return Ok(dict.get(key).ok().flatten().cloned());
    }
    let (Some(index), Some(len)) = (key.as_int(), value.len()) else { return Ok(None) };
    let index = if index < 0 { index + len as i128 } else { index };
    let Ok(index) = usize::try_from(index) else { return Ok(None) };
    Ok(match value {
        Value::List(items) | Value::Tuple(items) | Value::Group(items) => items.get(index).cloned(),
        Value::Range(range) if index < len => Some(Value::Int(range.start + range.step * index as i128)),
        Value::Str(text) => text.text.chars().nth(index).map(|char| like(text, char.to_string())),
        _ => None,
    })
}

fn like(text: &Text, part: String) -> Value {
    Value::Str(Text { text: part.into(), is_safe: text.is_safe })
}

/// `value[start:stop:step]`
pub(super) fn slice(value: &Value, [start, stop, step]: [Option<&Value>; 3]) -> Result<Value> {
    defined(value)?;
    if !matches!(value, Value::Str(_) | Value::List(_) | Value::Tuple(_) | Value::Group(_) | Value::Range(_))
    {
        return fail(format!("`{}` object cannot be sliced", value.type_name()));
    }
    for bound in [start, stop, step].into_iter().flatten() {
        if !matches!(bound, Value::None) {
            int(bound)?;
        }
    }
    let (start, stop, step) = (optional_int(start)?, optional_int(stop)?, optional_int(step)?.unwrap_or(1));
    if step == 0 {
        return fail("slice step cannot be zero");
    }
    match value {
        Value::Str(text) if step == 1 => Ok(like(text, substring(&text.text, start, stop).to_owned())),
        Value::Str(text) => {
            let chars: Vec<char> = text.text.chars().collect();
            let indices = indices(chars.len(), start, stop, step);
            Ok(like(text, indices.map(|index| chars[index]).collect()))
        }
        Value::Range(range) => {
            // The bounds count even if nothing is between them.
            let (first, last) = bounds(range.len(), start, stop, step);
            let at = |index: i128| range.start + range.step * index;
            let range = super::value::Range { start: at(first), stop: at(last), step: range.step * step };
            Ok(Value::Range(range))
        }
        other => {
            let items = other.items()?;
            let indices = indices(items.len(), start, stop, step);
            let items: Vec<_> = indices.map(|index| items[index].clone()).collect();
            Ok(if matches!(value, Value::List(_)) { items.into() } else { Value::Tuple(items.into()) })
        }
    }
}

/// `text[start:stop]` by characters.
pub(super) fn substring(text: &str, start: Option<i128>, stop: Option<i128>) -> &str {
    let len = if text.is_ascii() { text.len() } else { text.chars().count() };
    let (start, stop) = bounds(len, start, stop, 1);
    let (start, stop) = (start as usize, stop.max(start) as usize);
    if len == text.len() {
        return &text[start..stop];
    }
    let mut offsets = text.char_indices().map(|(offset, _)| offset).chain([text.len()]);
    let first = offsets.nth(start).unwrap_or(text.len());
    let last = if stop > start { offsets.nth(stop - start - 1).unwrap_or(text.len()) } else { first };
    &text[first..last]
}

/// Bounds of a slice as indices, with -1 for the place before the first.
fn bounds(len: usize, start: Option<i128>, stop: Option<i128>, step: i128) -> (i128, i128) {
    let len = len as i128;
    let (lowest, highest) = if step > 0 { (0, len) } else { (-1, len - 1) };
    let clamp =
        |bound: i128| (if bound < 0 { bound.saturating_add(len) } else { bound }).clamp(lowest, highest);
    let (first, last) = if step > 0 { (lowest, highest) } else { (highest, lowest) };
    (start.map_or(first, clamp), stop.map_or(last, clamp))
}

fn indices(len: usize, start: Option<i128>, stop: Option<i128>, step: i128) -> impl Iterator<Item = usize> {
    let (start, stop) = bounds(len, start, stop, step);
    let range = super::value::Range { start, stop, step };
    range.iter().filter_map(|index| usize::try_from(index.as_int()?).ok())
}
