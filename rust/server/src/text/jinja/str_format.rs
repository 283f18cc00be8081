//! `str.format`

use super::arguments::{Args, check_len};
use super::error::{Result, fail};
use super::printf::ascii;
use super::repr::{repr, text_of};
use super::spec::format_value;
use super::subscript::{attribute, item};
use super::value::{Value, no_key};

/// The values of the fields, and the next position of fields without a number.
struct Fields<'a> {
    args: &'a Args,
    mapping: Option<&'a Value>,
    next: usize,
    is_numbered: bool,
}

pub(super) fn str_format(format: &str, args: &Args) -> Result<String> {
    Fields { args, mapping: None, next: 0, is_numbered: false }.format(format, 3)
}

pub(super) fn format_map(format: &str, mapping: &Value) -> Result<String> {
    let args = Args::default();
    Fields { args: &args, mapping: Some(mapping), next: 0, is_numbered: false }.format(format, 3)
}

impl Fields<'_> {
    /// Formats a text; a field's specification may contain fields, but no deeper.
    fn format(&mut self, format: &str, depth: usize) -> Result<String> {
        if depth == 0 {
            return fail("max string recursion exceeded");
        }
        let (mut out, mut rest) = (String::new(), format);
        while let Some(start) = rest.find(['{', '}']) {
            out.push_str(&rest[..start]);
            let bracket = &rest[start..=start];
            rest = &rest[start + 1..];
            if let Some(behind) = rest.strip_prefix(bracket) {
                out.push_str(bracket);
                rest = behind;
            } else if bracket == "}" {
                return fail("single `}` encountered in format string");
            } else {
                let Some(end) = closing(rest) else { return fail("expected `}` before end of string") };
                out.push_str(&self.field(&rest[..end], depth)?);
                rest = &rest[end + 1..];
            }
            check_len(out.len())?;
        }
        out.push_str(rest);
        Ok(out)
    }

    /// `name!conversion:spec`
    fn field(&mut self, field: &str, depth: usize) -> Result<String> {
        let mut depth_of_item = 0;
        let name_end = field.find(|char| {
            depth_of_item += i32::from(char == '[') - i32::from(char == ']');
            depth_of_item <= 0 && matches!(char, '!' | ':')
        });
        let (name, mut rest) = field.split_at(name_end.unwrap_or(field.len()));
        if name.contains(['{', '}']) {
            return fail("unexpected `{` in field name");
        }
        let mut value = self.value(name)?;
        if let Some(conversion) = rest.strip_prefix('!') {
            let (kind, behind) = conversion.split_at(conversion.find(':').unwrap_or(conversion.len()));
            value = Value::from(match kind {
                "s" => text_of(&value),
                "r" => repr(&value),
                "a" => ascii(&value),
                _ => return fail(format!("unknown conversion specifier `{kind}`")),
            });
            rest = behind;
        }
        let spec = self.format(rest.strip_prefix(':').unwrap_or(rest), depth - 1)?;
        format_value(&value, &spec)
    }

    /// `first.attribute[item]`
    fn value(&mut self, name: &str) -> Result<Value> {
        let first_end = name.find(['.', '[']).unwrap_or(name.len());
        let (first, mut path) = name.split_at(first_end);
        let mut value = self.first(first)?;
        while !path.is_empty() {
            if let Some(inner) = path.strip_prefix('[') {
                let Some(end) = inner.find(']') else { return fail("missing `]` in format string") };
                let (key, behind) = inner.split_at(end);
                if key.is_empty() || !(behind.len() == 1 || behind[1..].starts_with(['.', '['])) {
                    return fail("empty attribute, or text behind `]`, in format string");
                }
                value = item(&value, &key.parse().map_or_else(|_| Value::from(key), Value::Int))?;
                path = &behind[1..];
            } else {
                let inner = &path[1..];
                let (key, behind) = inner.split_at(inner.find(['.', '[']).unwrap_or(inner.len()));
                if key.is_empty() {
                    return fail("empty attribute in format string");
                }
                value = attribute(&value, key)?;
                path = behind;
            }
        }
        Ok(value)
    }

    fn first(&mut self, name: &str) -> Result<Value> {
        let is_number = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit());
        if name.is_empty() || is_number {
            if (name.is_empty() && self.is_numbered) || (is_number && self.next > 0) {
                return fail("cannot mix fields with and without numbers in a format string");
            }
            let index = if is_number { name.parse().unwrap_or(usize::MAX) } else { self.next };
            self.is_numbered = is_number;
            self.next += usize::from(!is_number);
            let found = self.args.positional.get(index).cloned();
            return found.map_or_else(|| fail(format!("no argument {index} for the format string")), Ok);
        }
        let key = Value::from(name);
        let found = match self.mapping {
            Some(Value::Dict(dict)) => dict.get(&key)?.cloned(),
            Some(other) => return fail(format!("`{}` object is no mapping", other.type_name())),
            None => self.args.named.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone()),
        };
        found.map_or_else(|| fail(no_key(&key)), Ok)
    }
}

/// Returns where the open field ends; brackets in it may be nested.
fn closing(rest: &str) -> Option<usize> {
    let mut depth = 1;
    for (index, char) in rest.char_indices() {
        match char {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(index);
        }
    }
    None
}
