//! Formats values as Python prints them.

use std::fmt::Write;

use super::value::{Dict, Value, View};

/// Python's `str(value)`.
pub(super) fn text_of(value: &Value) -> String {
    match value {
        Value::Str(text) => text.text.to_string(),
        Value::Undefined(_) => String::new(),
        other => repr(other),
    }
}

/// Python's `repr(value)`.
pub(super) fn repr(value: &Value) -> String {
    let mut out = String::new();
    write(value, &mut out);
    out
}

fn write(value: &Value, out: &mut String) {
    match value {
        Value::Undefined(_) => out.push_str("Undefined"),
        Value::None => out.push_str("None"),
        Value::Bool(flag) => out.push_str(if *flag { "True" } else { "False" }),
        Value::Int(number) => write!(out, "{number}").expect("a string takes all"),
        Value::Float(number) => out.push_str(&float(*number)),
        Value::Str(text) if text.is_safe => {
            out.push_str("Markup(");
            write_quoted(&text.text, out);
            out.push(')');
        }
        Value::Str(text) => write_quoted(&text.text, out),
        Value::List(items) => write_items("[", items, "]", out),
        Value::Tuple(items) | Value::Group(items) if items.len() == 1 => write_items("(", items, ",)", out),
        Value::Tuple(items) | Value::Group(items) => write_items("(", items, ")", out),
        Value::Dict(dict) => write_dict(dict, out),
        Value::View(view, dict) => {
            let name = match view {
                View::Keys => "dict_keys([",
                View::Values => "dict_values([",
                View::Items => "dict_items([",
            };
            write_items(name, &view.items(dict), "])", out);
        }
        Value::Range(range) if range.step == 1 => {
            write!(out, "range({}, {})", range.start, range.stop).expect("a string takes all");
        }
        Value::Range(range) => {
            write!(out, "range({}, {}, {})", range.start, range.stop, range.step)
                .expect("a string takes all");
        }
        Value::Namespace(dict) => {
            // A namespace may hold itself, and is then being read already.
            out.push_str("<Namespace ");
            match dict.try_borrow_mut() {
                Ok(dict) => write_dict(&dict, out),
                Err(_) => out.push_str("{...}"),
            }
            out.push('>');
        }
        other => write!(out, "<{}>", other.type_name()).expect("a string takes all"),
    }
}

fn write_items(start: &str, items: &[Value], end: &str, out: &mut String) {
    out.push_str(start);
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push_str(", ");
        }
        write(item, out);
    }
    out.push_str(end);
}

fn write_dict(dict: &Dict, out: &mut String) {
    out.push('{');
    for (index, (key, value)) in dict.iter().enumerate() {
        if index > 0 {
            out.push_str(", ");
        }
        write(key, out);
        out.push_str(": ");
        write(value, out);
    }
    out.push('}');
}

/// A text in quotes: single ones, but double ones where only that spares a backslash.
fn write_quoted(text: &str, out: &mut String) {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push(quote);
    for char in text.chars() {
        match char {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\\' => out.push_str("\\\\"),
            _ if char == quote => out.extend(['\\', char]),
            // Python escapes the planes for private use; here they replace markers that a client
            // wrote (`../literals.rs`).
            _ if is_printable(char) || char >= '\u{f0000}' => out.push(char),
            _ => out.push_str(&escaped(char)),
        }
    }
    out.push(quote);
}

/// Returns a character by its code.
pub(super) fn escaped(char: char) -> String {
    match u32::from(char) {
        code @ ..=0xff => format!("\\x{code:02x}"),
        code @ ..=0xffff => format!("\\u{code:04x}"),
        code => format!("\\U{code:08x}"),
    }
}

/// `str.isprintable`: neither a control character, nor unassigned, nor a space other than U+0020.
pub(super) fn is_printable(char: char) -> bool {
    // Behind another character, combining ones are left as they are.
    matches!(char, '\'' | '"' | '\\') || format!("a{char}").escape_debug().nth(1) == Some(char)
}

/// Formats a float: the shortest digits that identify it, with an exponent below 1e-4 and from 1e16
/// on.
pub(super) fn float(number: f64) -> String {
    if number.is_nan() {
        return "nan".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let magnitude = number.abs();
    if magnitude != 0.0 && !(1e-4..1e16).contains(&magnitude) {
        let text = format!("{number:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        return format!("{digits}{}", signed_exponent(exponent));
    }
    // Rust prints the same shortest digits, and the point only where it is needed.
    let text = number.to_string();
    if text.contains('.') { text } else { format!("{text}.0") }
}

/// Returns an exponent with its sign and at least two digits.
pub(super) fn signed_exponent(exponent: &str) -> String {
    let exponent: i32 = exponent.parse().unwrap_or(0);
    format!("e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}
