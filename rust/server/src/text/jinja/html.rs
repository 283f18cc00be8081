//! HTML: escaping, removing tags, and writing attributes.

use super::error::{Result, fail};
use super::operators::defined;
use super::repr::{repr, text_of};
use super::scan::is_space;
use super::value::Value;

/// Returns the text of a value as HTML shows it; one that is safe already stays.
pub(super) fn escape(value: &Value) -> String {
    match value {
        Value::Str(text) if text.is_safe => text.text.to_string(),
        other => escaped(&text_of(other)),
    }
}

pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(char),
        }
    }
    out
}

/// Returns a dictionary as the attributes of a tag; None and undefined are left out.
pub(super) fn attributes(value: &Value, with_space: bool) -> Result<String> {
    defined(value)?;
    let Value::Dict(dict) = value else { return fail("`xmlattr` needs a dict") };
    let mut out = Vec::new();
    for (name, value) in dict.iter().filter(|(_, value)| !matches!(value, Value::None | Value::Undefined(_)))
    {
        let Some(text) = name.as_str() else { return fail("`xmlattr` needs strings as names") };
        if text.contains([' ', '\t', '\n', '\r', '\u{b}', '\u{c}', '/', '>', '=']) {
            return fail(format!("invalid character in attribute name: {}", repr(name)));
        }
        out.push(format!("{}=\"{}\"", escape(name), escape(value)));
    }
    let text = out.join(" ");
    Ok(if with_space && !text.is_empty() { format!(" {text}") } else { text })
}

/// Returns text without comments and tags, with white space collapsed and entities decoded.
pub(super) fn without_tags(text: &str) -> String {
    let text = without(&without(text, "<!--", "-->"), "<", ">");
    let words: Vec<&str> = text.split(is_space).filter(|word| !word.is_empty()).collect();
    unescaped(&words.join(" "))
}

fn without(text: &str, start: &str, end: &str) -> String {
    let (mut out, mut rest) = (String::new(), text);
    while let Some((before, behind)) = rest.split_once(start) {
        let Some((_, behind)) = behind.split_once(end) else { break };
        out.push_str(before);
        rest = behind;
    }
    out + rest
}

/// Decodes the entities that `escape` makes, a few more, and those by number.
fn unescaped(text: &str) -> String {
    let (mut out, mut rest) = (String::new(), text);
    while let Some((before, behind)) = rest.split_once('&') {
        out.push_str(before);
        let entity = behind.split_once(';').and_then(|(name, behind)| Some((character(name)?, behind)));
        rest = match entity {
            Some((char, behind)) => {
                out.push(char);
                behind
            }
            None => {
                out.push('&');
                behind
            }
        };
    }
    out + rest
}

fn character(name: &str) -> Option<char> {
    let code = match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        "nbsp" => '\u{a0}',
        _ => {
            let number = name.strip_prefix('#')?;
            let code = match number.strip_prefix(['x', 'X']) {
                Some(digits) => u32::from_str_radix(digits, 16),
                None => number.parse(),
            };
            return char::from_u32(code.ok()?);
        }
    };
    Some(code)
}

/// Encodes a text, or the pairs of a mapping, for a URL.
pub(super) fn url_encoded(value: &Value) -> Result<String> {
    let pairs = match value {
        Value::Dict(dict) => {
            dict.iter().map(|(key, value)| Value::pair(key.clone(), value.clone())).collect()
        }
        Value::Str(_) => return Ok(quoted(&text_of(value), "/")),
        other if other.len().is_some() || matches!(other, Value::Iterator(_)) => other.items()?,
        other => return Ok(quoted(&text_of(other), "/")),
    };
    let mut parts = Vec::with_capacity(pairs.len());
    for pair in pairs {
        let pair = pair.items()?;
        let [key, value] = pair.as_slice() else { return fail("`urlencode` needs pairs") };
        let part = |value| quoted(&text_of(value), "").replace("%20", "+");
        parts.push(format!("{}={}", part(key), part(value)));
    }
    Ok(parts.join("&"))
}

fn quoted(text: &str, safe: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        let char = char::from(byte);
        if char.is_ascii_alphanumeric() || "_.-~".contains(char) || safe.contains(char) {
            out.push(char);
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
