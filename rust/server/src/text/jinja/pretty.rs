//! `pprint`: Python's `pformat` in lines of 80 characters.

use super::error::Result;
use super::operators::sorted;
use super::repr::repr;
use super::split::split_lines;
use super::value::{Dict, Value, View};

const WIDTH: usize = 80;

/// Returns a value over as many lines as it takes, the keys of its dictionaries in order.
pub(super) fn pretty(value: &Value) -> Result<String> {
    let mut printer = Printer { out: String::new() };
    printer.write(&in_order(value)?, 0, 0, 0);
    Ok(printer.out)
}

fn in_order(value: &Value) -> Result<Value> {
    let each = |items: &[Value]| items.iter().map(in_order).collect::<Result<Vec<_>>>();
    Ok(match value {
        Value::List(items) => each(items)?.into(),
        Value::Tuple(items) | Value::Group(items) => Value::Tuple(each(items)?.into()),
        Value::Dict(dict) => {
            let keys = View::Keys.items(dict);
            let by_value = keys.iter().map(|key| (key.clone(), key.clone())).collect();
            // Keys that cannot be compared are sorted by their type first.
            let by_type = || {
                keys.iter().map(|key| (Value::pair(Value::from(key.type_name()), key.clone()), key.clone()))
            };
            let keys = sorted(by_value, false).or_else(|_| sorted(by_type().collect(), false))?;
            let mut ordered = Dict::default();
            for key in keys {
                if let Some(value) = dict.get(&key)? {
                    ordered.insert(key.clone(), in_order(value)?)?;
                }
            }
            ordered.into()
        }
        other => other.clone(),
    })
}

struct Printer {
    out: String,
}

impl Printer {
    /// Writes a value behind `indent` characters, with place for `allowance` behind it.
    fn write(&mut self, value: &Value, indent: usize, allowance: usize, depth: usize) {
        let text = repr(value);
        if text.chars().count() + indent + allowance <= WIDTH {
            self.out.push_str(&text);
            return;
        }
        match value {
            Value::List(items) => self.items("[", items, "]", indent, allowance, depth),
            Value::Tuple(items) => {
                let end = if items.len() == 1 { ",)" } else { ")" };
                self.items("(", items, end, indent, allowance, depth);
            }
            Value::Dict(dict) if dict.len() > 0 => self.dict(dict, indent, allowance, depth),
            Value::Str(text) if !text.is_safe && !text.text.is_empty() => {
                self.text(&text.text, indent, allowance, depth);
            }
            _ => self.out.push_str(&text),
        }
    }

    fn new_line(&mut self, indent: usize) {
        self.out.push('\n');
        self.out.push_str(&" ".repeat(indent));
    }

    fn items(
        &mut self,
        start: &str,
        items: &[Value],
        end: &str,
        indent: usize,
        allowance: usize,
        depth: usize,
    ) {
        self.out.push_str(start);
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                self.out.push(',');
                self.new_line(indent + 1);
            }
            let is_last = index + 1 == items.len();
            self.write(item, indent + 1, if is_last { allowance + end.len() } else { 1 }, depth + 1);
        }
        self.out.push_str(end);
    }

    fn dict(&mut self, dict: &Dict, indent: usize, allowance: usize, depth: usize) {
        self.out.push('{');
        for (index, (key, value)) in dict.iter().enumerate() {
            if index > 0 {
                self.out.push(',');
                self.new_line(indent + 1);
            }
            let key = repr(key);
            self.out.push_str(&key);
            self.out.push_str(": ");
            let is_last = index + 1 == dict.len();
            let indent = indent + key.chars().count() + 3;
            self.write(value, indent, if is_last { allowance + 1 } else { 1 }, depth + 1);
        }
        self.out.push('}');
    }

    /// Writes a text in pieces, one per line; a text that is the whole value is in brackets.
    fn text(&mut self, text: &str, indent: usize, allowance: usize, depth: usize) {
        let extra = usize::from(depth == 0);
        let (indent, allowance) = (indent + extra, allowance + extra);
        let pieces = pieces(text, WIDTH.saturating_sub(indent), allowance);
        if let [piece] = pieces.as_slice() {
            self.out.push_str(piece);
            return;
        }
        self.out.push_str(&"("[..extra]);
        for (index, piece) in pieces.iter().enumerate() {
            if index > 0 {
                self.new_line(indent);
            }
            self.out.push_str(piece);
        }
        self.out.push_str(&")"[..extra]);
    }
}

/// Returns the lines of a text in quotes, longer ones cut behind white space.
fn pieces(text: &str, width: usize, allowance: usize) -> Vec<String> {
    let quoted = |text: &str| repr(&Value::from(text));
    let fits = |text: &str, width: usize| quoted(text).chars().count() <= width;
    let lines = split_lines(text, true);
    let mut pieces = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let is_last_line = index + 1 == lines.len();
        let narrow = width.saturating_sub(if is_last_line { allowance } else { 0 });
        if fits(line, narrow) {
            pieces.push(quoted(line));
            continue;
        }
        let parts = parts(line);
        let mut current = String::new();
        for (index, part) in parts.iter().enumerate() {
            let candidate = format!("{current}{part}");
            let is_last = is_last_line && index + 1 == parts.len();
            if fits(&candidate, if is_last { narrow } else { width }) {
                current = candidate;
            } else {
                if !current.is_empty() {
                    pieces.push(quoted(&current));
                }
                (*part).clone_into(&mut current);
            }
        }
        if !current.is_empty() {
            pieces.push(quoted(&current));
        }
    }
    pieces
}

/// Returns the words with the white space behind them.
fn parts(line: &str) -> Vec<&str> {
    let (mut parts, mut rest) = (Vec::new(), line);
    while !rest.is_empty() {
        let word = rest.find(super::scan::is_space).unwrap_or(rest.len());
        let behind = rest[word..].trim_start_matches(super::scan::is_space);
        let (part, behind) = rest.split_at(rest.len() - behind.len());
        parts.push(part);
        rest = behind;
    }
    parts
}
