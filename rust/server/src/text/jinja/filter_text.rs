//! Filters from text to text.

use super::arguments::{Args, int, int_or, is_true, len, optional_int, optional_text, text};
use super::characters::capitalized;
use super::error::{Result, fail};
use super::numeric::parse_float;
use super::operators::{concat, defined};
use super::printf::printf;
use super::repr::text_of;
use super::scan::is_space;
use super::split::{right_split, split_lines};
use super::str_methods::{replace, str_method, strip};
use super::subscript::substring;
use super::value::{Dict, Text, Value};
use super::wordwrap::{Wrap, wrap};

pub(super) fn text_filter(name: &str, value: &Value, args: Args) -> Result<Value> {
    match name {
        "upper" | "lower" => {
            args.none(name)?;
            str_method(&soft(value), name, Args::default())
        }
        "capitalize" => args.none(name).map(|()| Value::from(capitalized(&text_of(value)))),
        "title" => args.none(name).map(|()| Value::from(title(&text_of(value)))),
        "trim" => {
            let [chars] = args.bind(name, ["chars"], 0)?;
            let Text { text, is_safe } = soft(value);
            let stripped = strip(&text, optional_text(chars.as_ref())?, true, true);
            Ok(Value::Str(Text { text: stripped.into(), is_safe }))
        }
        "center" => {
            let [width] = args.bind(name, ["width"], 0)?;
            str_method(&soft(value), name, Args::of(vec![width.unwrap_or(Value::Int(80))]))
        }
        "format" => format(value, args),
        "replace" => {
            let [old, new, count] = args.bind(name, ["old", "new", "count"], 2)?;
            let (old, new) = (old.unwrap_or(Value::None), new.unwrap_or(Value::None));
            replace(
                &text_of(value),
                &text_of(&old),
                &text_of(&new),
                optional_int(count.as_ref())?.unwrap_or(-1),
            )
        }
        "indent" => {
            let [width, first, blank] = args.bind(name, ["width", "first", "blank"], 0)?;
            let width = match width.unwrap_or(Value::Int(4)) {
                Value::Str(width) => width.text.to_string(),
                other => " ".repeat(len(int(&other)?)?),
            };
            indent(value, &width, is_true(first.as_ref()), is_true(blank.as_ref()))
        }
        "truncate" => truncate(value, args),
        "wordcount" => {
            args.none(name)?;
            let text = text_of(value);
            let words = text.split(|char: char| char != '_' && !char.is_alphanumeric());
            Ok(words.filter(|word| !word.is_empty()).count().into())
        }
        "wordwrap" => {
            let names = ["width", "break_long_words", "wrapstring", "break_on_hyphens"];
            let [width, long, between, hyphens] = args.bind(name, names, 0)?;
            let wrapping = Wrap {
                width: int_or(width.as_ref(), 79)?,
                breaks_long_words: long.is_none_or(|long| long.is_true()),
                breaks_on_hyphens: hyphens.is_none_or(|hyphens| hyphens.is_true()),
            };
            let between = optional_text(between.as_ref())?.unwrap_or("\n");
            let mut lines = Vec::new();
            for line in split_lines(string(value)?, false) {
                lines.push(wrap(line, &wrapping)?.join(between));
            }
            Ok(Value::from(lines.join(between)))
        }
        _ => file_size(value, args),
    }
}

/// Returns the text of any value, safe if it was.
fn soft(value: &Value) -> Text {
    match value {
        Value::Str(text) => text.clone(),
        other => Text { text: text_of(other).into(), is_safe: false },
    }
}

/// Returns a string and nothing else.
fn string(value: &Value) -> Result<&str> {
    defined(value)?;
    text(value)
}

/// Capitalises words, which begin behind white space, hyphens and opening brackets.
fn title(text: &str) -> String {
    let is_between = |char: char| is_space(char) || matches!(char, '-' | '(' | '{' | '[' | '<');
    let (mut out, mut is_first) = (String::with_capacity(text.len()), true);
    let mut rest = text;
    while let Some(char) = rest.chars().next() {
        if is_between(char) {
            out.push(char);
            is_first = true;
            rest = &rest[char.len_utf8()..];
        } else if is_first {
            out.extend(char.to_uppercase());
            is_first = false;
            rest = &rest[char.len_utf8()..];
        } else {
            let end = rest.find(is_between).unwrap_or(rest.len());
            out.push_str(&rest[..end].to_lowercase());
            rest = &rest[end..];
        }
    }
    out
}

fn format(value: &Value, args: Args) -> Result<Value> {
    let Text { text, is_safe } = soft(value);
    let values = match (args.positional.is_empty(), args.named.is_empty()) {
        (false, false) => {
            return fail("`format` cannot handle positional and named arguments at the same time");
        }
        (true, false) => {
            let mut dict = Dict::default();
            for (name, value) in args.named {
                dict.insert(Value::from(name), value)?;
            }
            dict.into()
        }
        _ => Value::Tuple(args.positional.into()),
    };
    Ok(Value::Str(Text { text: printf(&text, &values)?.into(), is_safe }))
}

/// Puts `width` in front of lines; of the first, and of empty ones, only on request.
fn indent(value: &Value, width: &str, with_first: bool, with_blank: bool) -> Result<Value> {
    let source = format!("{}\n", string(value)?);
    let mut out = String::with_capacity(source.len());
    for (index, line) in split_lines(&source, false).into_iter().enumerate() {
        if index > 0 {
            out.push('\n');
        }
        let is_indented = if index == 0 { with_first } else { with_blank || !line.is_empty() };
        super::arguments::check_len(out.len() + width.len())?;
        if is_indented {
            out.push_str(width);
        }
        out.push_str(line);
    }
    Ok(if soft(value).is_safe { Value::safe(out) } else { Value::from(out) })
}

/// Cuts a text that is longer than `length` by more than `leeway`, at the end of a word unless
/// `killwords`.
fn truncate(value: &Value, args: Args) -> Result<Value> {
    let [length, kill_words, end, leeway] =
        args.bind("truncate", ["length", "killwords", "end", "leeway"], 0)?;
    let length = int_or(length.as_ref(), 255)?;
    let leeway = optional_int(leeway.as_ref())?.unwrap_or(5);
    let end = end.unwrap_or_else(|| Value::from("..."));
    let end_len = end.len().unwrap_or(0) as i128;
    if length < end_len || leeway < 0 {
        return fail(format!("`truncate` needs a length of at least {end_len} and a leeway of at least 0"));
    }
    let Some(len) = value.len() else {
        return fail(format!("object of type `{}` has no length", value.type_name()));
    };
    if len as i128 <= length + leeway {
        return Ok(value.clone());
    }
    let text = string(value)?;
    let kept = substring(text, None, Some(length - end_len));
    let kept = if is_true(kill_words.as_ref()) {
        kept
    } else {
        right_split(kept, Some(" "), 1)?.first().copied().unwrap_or(kept)
    };
    if end.as_str().is_none() {
        return fail("the end of `truncate` must be a string");
    }
    Ok(concat(&[Value::Str(Text { text: kept.into(), is_safe: soft(value).is_safe }), end]))
}

fn file_size(value: &Value, args: Args) -> Result<Value> {
    const NAMES: [&str; 8] = ["k", "M", "G", "T", "P", "E", "Z", "Y"];
    let [binary] = args.bind("filesizeformat", ["binary"], 0)?;
    defined(value)?;
    let bytes = match value {
        Value::Str(text) => parse_float(&text.text),
        other => other.as_float(),
    };
    let Some(bytes) = bytes else { return fail("`filesizeformat` needs a number") };
    let is_binary = is_true(binary.as_ref());
    let base: f64 = if is_binary { 1024.0 } else { 1000.0 };
    if bytes == 1.0 {
        return Ok(Value::from("1 Byte"));
    }
    if bytes < base {
        if bytes.is_infinite() {
            return fail("cannot convert float infinity to integer");
        }
        return Ok(Value::from(format!("{} Bytes", bytes.trunc() as i128)));
    }
    if bytes.is_nan() {
        return Ok(Value::from(format!("nan Y{}B", if is_binary { "i" } else { "" })));
    }
    let mut unit = base;
    let mut name = "";
    for next in NAMES {
        (unit, name) = (unit * base, next);
        if bytes < unit {
            break;
        }
    }
    let name = match (is_binary, name) {
        (true, name) => format!("{}iB", name.to_uppercase()),
        (false, name) => format!("{name}B"),
    };
    let size = base * bytes / unit;
    Ok(Value::from(if size.is_finite() { format!("{size:.1} {name}") } else { format!("inf {name}") }))
}
