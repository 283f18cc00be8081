//! `tojson` as `transformers` defines it for templates: Python's `json.dumps`.

use super::arguments::{Args, check_len, int, is_true, len};
use super::error::{Result, fail};
use super::operators::sorted;
use super::repr::{float, text_of};
use super::value::{Dict, Value};

/// `value | tojson(ensure_ascii=false, indent=none, separators=none, sort_keys=false)`.
pub(super) fn tojson(value: &Value, args: Args) -> Result<String> {
    let names = ["ensure_ascii", "indent", "separators", "sort_keys"];
    let [ensure_ascii, indent, given, sort_keys] = args.bind("tojson", names, 0)?;
    let indent = indent_unit(indent.as_ref())?;
    let (item, key) = separators(given.as_ref(), indent.is_some())?;
    let mut writer = Writer {
        out: String::new(),
        ensure_ascii: is_true(ensure_ascii.as_ref()),
        sort_keys: is_true(sort_keys.as_ref()),
        indent,
        item_separator: item,
        key_separator: key,
        depth: 0,
    };
    writer.write(value)?;
    Ok(writer.out)
}

/// Returns one level of indentation: spaces by number, or any text.
fn indent_unit(indent: Option<&Value>) -> Result<Option<String>> {
    match indent {
        None | Some(Value::None) => Ok(None),
        Some(Value::Str(text)) => Ok(Some(text.text.to_string())),
        Some(number) => Ok(Some(" ".repeat(len(int(number)?)?))),
    }
}

/// Returns the separators of items and of a key and its value.
fn separators(separators: Option<&Value>, is_indented: bool) -> Result<(String, String)> {
    let Some(pair) = separators.filter(|given| !matches!(given, Value::None)) else {
        let item = if is_indented { "," } else { ", " };
        return Ok((item.to_owned(), ": ".to_owned()));
    };
    match pair.items()?.as_slice() {
        [Value::Str(item), Value::Str(key)] => Ok((item.text.to_string(), key.text.to_string())),
        _ => fail("`tojson` needs a pair of strings as separators"),
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
    fn write(&mut self, value: &Value) -> Result<()> {
        check_len(self.out.len())?;
        match value {
            Value::Str(text) => self.write_str(&text.text),
            Value::List(items) | Value::Tuple(items) | Value::Group(items) => self.write_list(items)?,
            Value::Dict(dict) => self.write_dict(dict)?,
            other => self.out.push_str(&scalar(other)?),
        }
        Ok(())
    }

    fn write_list(&mut self, items: &[Value]) -> Result<()> {
        self.out.push('[');
        for (index, item) in items.iter().enumerate() {
            self.begin_item(index == 0);
            self.write(item)?;
        }
        self.close(']', items.is_empty());
        Ok(())
    }

    fn write_dict(&mut self, dict: &Dict) -> Result<()> {
        self.out.push('{');
        let mut pairs: Vec<Value> =
            dict.iter().map(|(key, value)| Value::pair(key.clone(), value.clone())).collect();
        if self.sort_keys {
            let keys = dict.iter().map(|(key, _)| key.clone());
            pairs = sorted(keys.zip(pairs).collect(), false)?;
        }
        for (index, pair) in pairs.iter().enumerate() {
            let Value::Tuple(pair) = pair else { continue };
            self.begin_item(index == 0);
            match &pair[0] {
                Value::Tuple(_) | Value::Group(_) | Value::Undefined(_) => {
                    return fail(format!(
                        "`tojson` keys must be strings or numbers, not {}",
                        pair[0].type_name()
                    ));
                }
                key if key.as_str().is_some() => self.write_str(&text_of(key)),
                key => {
                    let name = scalar(key)?;
                    self.write_str(&name);
                }
            }
            self.out.push_str(&self.key_separator);
            self.write(&pair[1])?;
        }
        self.close('}', pairs.is_empty());
        Ok(())
    }

    /// Writes the separator before the next item of the innermost container.
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

/// Returns a value that is neither text nor container.
fn scalar(value: &Value) -> Result<String> {
    Ok(match value {
        Value::None => "null".to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Float(number) if number.is_nan() => "NaN".to_owned(),
        Value::Float(number) if number.is_infinite() => {
            if *number > 0.0 { "Infinity" } else { "-Infinity" }.to_owned()
        }
        Value::Float(number) => float(*number),
        other => return fail(format!("Object of type {} is not JSON serializable", other.type_name())),
    })
}
