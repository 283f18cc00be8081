//! `tojson` as `transformers` defines it for templates: Python's `json.dumps`.

use minijinja::value::{Kwargs, Rest, ValueKind};
use minijinja::{Error, ErrorKind, Value};

/// `value | tojson(ensure_ascii=false, indent=none, separators=none, sort_keys=false)`.
#[expect(clippy::needless_pass_by_value, reason = "the engine hands named arguments over by value")]
pub(super) fn tojson(value: &Value, Rest(mut args): Rest<Value>, kwargs: Kwargs) -> Result<String, Error> {
    args.resize(4, Value::UNDEFINED);
    for (arg, name) in args.iter_mut().zip(["ensure_ascii", "indent", "separators", "sort_keys"]) {
        if let Some(named) = kwargs.get(name)? {
            *arg = named;
        }
    }
    kwargs.assert_all_used()?;
    let indent = indent_unit(&args[1])?;
    let (item, key) = separators(&args[2], indent.is_some())?;
    let mut writer = Writer {
        out: String::new(),
        ensure_ascii: args[0].is_true(),
        sort_keys: args[3].is_true(),
        indent,
        item_separator: item,
        key_separator: key,
        depth: 0,
    };
    writer.write(value)?;
    Ok(writer.out)
}

/// One level of indentation: spaces by number, or any text.
fn indent_unit(indent: &Value) -> Result<Option<String>, Error> {
    if indent.is_none() || indent.is_undefined() {
        return Ok(None);
    }
    if let Some(text) = indent.as_str() {
        return Ok(Some(text.to_owned()));
    }
    let spaces = i64::try_from(indent.clone())?;
    Ok(Some(" ".repeat(usize::try_from(spaces).unwrap_or(0))))
}

/// What stands between items and after a key.
fn separators(separators: &Value, indented: bool) -> Result<(String, String), Error> {
    if separators.is_none() || separators.is_undefined() {
        let item = if indented { "," } else { ", " };
        return Ok((item.to_owned(), ": ".to_owned()));
    }
    let mut parts = separators.try_iter()?.map(|part| part.to_string());
    match (parts.next(), parts.next(), parts.next()) {
        (Some(item), Some(key), None) => Ok((item, key)),
        _ => Err(Error::new(ErrorKind::InvalidOperation, "tojson: separators must be a pair")),
    }
}

struct Writer {
    out: String,
    ensure_ascii: bool,
    sort_keys: bool,
    indent: Option<String>,
    item_separator: String,
    key_separator: String,
    depth: usize,
}

impl Writer {
    fn write(&mut self, value: &Value) -> Result<(), Error> {
        match value.kind() {
            ValueKind::String => self.write_str(&value.to_string()),
            ValueKind::Seq | ValueKind::Iterable => self.write_list(value)?,
            ValueKind::Map => self.write_map(value)?,
            _ => {
                let scalar = scalar(value)?;
                self.out.push_str(&scalar);
            }
        }
        Ok(())
    }

    fn write_list(&mut self, value: &Value) -> Result<(), Error> {
        self.out.push('[');
        let mut empty = true;
        for item in value.try_iter()? {
            self.begin_item(empty);
            empty = false;
            self.write(&item)?;
        }
        self.close(']', empty);
        Ok(())
    }

    fn write_map(&mut self, value: &Value) -> Result<(), Error> {
        self.out.push('{');
        let mut keys: Vec<Value> = value.try_iter()?.collect();
        if self.sort_keys {
            keys.sort();
        }
        for (index, key) in keys.iter().enumerate() {
            self.begin_item(index == 0);
            let name = if key.as_str().is_some() { key.to_string() } else { scalar(key)? };
            self.write_str(&name);
            self.out.push_str(&self.key_separator);
            self.write(&value.get_item(key)?)?;
        }
        self.close('}', keys.is_empty());
        Ok(())
    }

    /// Goes to where the next item of the innermost container stands.
    fn begin_item(&mut self, first: bool) {
        if first {
            self.depth += 1;
        } else {
            self.out.push_str(&self.item_separator);
        }
        self.new_line();
    }

    fn close(&mut self, bracket: char, empty: bool) {
        if !empty {
            self.depth -= 1;
            self.new_line();
        }
        self.out.push(bracket);
    }

    fn new_line(&mut self) {
        if let Some(unit) = &self.indent {
            self.out.push('\n');
            for _ in 0..self.depth {
                self.out.push_str(unit);
            }
        }
    }

    fn write_str(&mut self, text: &str) {
        self.out.push('"');
        for char in text.chars() {
            match char {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                '\u{8}' => self.out.push_str("\\b"),
                '\u{c}' => self.out.push_str("\\f"),
                _ if char < ' ' || (self.ensure_ascii && !matches!(char, ' '..='~')) => {
                    for unit in char.encode_utf16(&mut [0; 2]) {
                        self.out.push_str(&format!("\\u{unit:04x}"));
                    }
                }
                _ => self.out.push(char),
            }
        }
        self.out.push('"');
    }
}

/// A value that is neither text nor container.
fn scalar(value: &Value) -> Result<String, Error> {
    match value.kind() {
        ValueKind::None => Ok("null".to_owned()),
        ValueKind::Bool => Ok(if value.is_true() { "true" } else { "false" }.to_owned()),
        ValueKind::Number if value.is_integer() => Ok(value.to_string()),
        ValueKind::Number => Ok(float(f64::try_from(value.clone())?)),
        kind => Err(Error::new(ErrorKind::BadSerialization, format!("tojson: {kind} is not JSON"))),
    }
}

/// A float as Python's `repr` writes it: shortest digits, an exponent below 1e-4 and from 1e16 on.
fn float(number: f64) -> String {
    if number.is_nan() {
        return "NaN".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    let magnitude = number.abs();
    if magnitude != 0.0 && !(1e-4..1e16).contains(&magnitude) {
        let text = format!("{number:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let exponent: i32 = exponent.parse().unwrap_or(0);
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.abs());
    }
    // Rust prints the same shortest digits, and the point only where it is needed.
    let text = number.to_string();
    if text.contains('.') { text } else { format!("{text}.0") }
}
