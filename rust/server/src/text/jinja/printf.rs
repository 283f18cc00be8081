//! `format % values`

use super::arguments::{check_len, len};
use super::error::{Result, fail};
use super::numbers::{FloatStyle, float_digits, int_digits};
use super::repr::{escaped, repr, text_of};
use super::value::{Value, no_key};

/// The specification between `%` and the letter.
#[derive(Debug, Default)]
struct Spec {
    is_left: bool,
    has_sign: bool,
    has_blank: bool,
    is_alternate: bool,
    has_zeros: bool,
    width: usize,
    precision: Option<usize>,
}

/// The values that are left.
struct Values<'v> {
    all: &'v Value,
    items: std::vec::IntoIter<Value>,
}

impl Values<'_> {
    fn next(&mut self) -> Result<Value> {
        self.items.next().map_or_else(|| fail("not enough arguments for format string"), Ok)
    }

    fn named(&self, name: &str) -> Result<Value> {
        let Value::Dict(dict) = self.all else { return fail("format requires a mapping") };
        let key = Value::from(name);
        dict.get(&key)?.cloned().map_or_else(|| fail(no_key(&key)), Ok)
    }
}

/// Python's `%` of a string: a tuple has the values one by one, a dictionary by name, anything else
/// is one value.
pub(super) fn printf(format: &str, values: &Value) -> Result<String> {
    let items = match values {
        Value::Tuple(items) | Value::Group(items) => items.to_vec(),
        other => vec![other.clone()],
    };
    let mut values = Values { all: values, items: items.into_iter() };
    let (mut out, mut rest) = (String::new(), format);
    while let Some(start) = rest.find('%') {
        out.push_str(&rest[..start]);
        rest = field(&rest[start + 1..], &mut values, &mut out)?;
        check_len(out.len())?;
    }
    out.push_str(rest);
    // Values that could be looked up by name need not all be used.
    let is_mapping = !matches!(
        values.all,
        Value::Tuple(_)
            | Value::Group(_)
            | Value::Str(_)
            | Value::Int(_)
            | Value::Float(_)
            | Value::Bool(_)
            | Value::None
            | Value::Function(_)
            | Value::Iterator(_)
            | Value::View(..)
            | Value::Loop(_)
            | Value::Cycler(_)
            | Value::Joiner(_)
            | Value::Namespace(_)
    );
    if values.items.next().is_some() && !is_mapping {
        return fail("not all arguments converted during string formatting");
    }
    Ok(out)
}

/// Formats one field; returns the text behind it.
fn field<'f>(mut rest: &'f str, values: &mut Values, out: &mut String) -> Result<&'f str> {
    if let Some(behind) = rest.strip_prefix('%') {
        out.push('%');
        return Ok(behind);
    }
    if let Some(inner) = rest.strip_prefix('(') {
        let Some(end) = closing(inner) else { return fail("incomplete format key") };
        let value = values.named(&inner[..end])?;
        // The value looked up by name is the only one left.
        values.items = vec![value].into_iter();
        rest = &inner[end + 1..];
    }
    let (spec, behind) = spec(rest, values)?;
    let behind = behind.strip_prefix(['h', 'l', 'L']).unwrap_or(behind);
    let Some(kind) = behind.chars().next() else { return fail("incomplete format") };
    let behind = &behind[kind.len_utf8()..];
    convert(kind, &values.next()?, &spec, out)?;
    Ok(behind)
}

/// Returns where the open bracket closes.
fn closing(inner: &str) -> Option<usize> {
    let mut depth = 1;
    for (index, char) in inner.char_indices() {
        match char {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(index);
        }
    }
    None
}

fn spec<'f>(mut rest: &'f str, values: &mut Values) -> Result<(Spec, &'f str)> {
    let mut spec = Spec::default();
    loop {
        let flag = match rest.as_bytes().first() {
            Some(b'-') => &mut spec.is_left,
            Some(b'+') => &mut spec.has_sign,
            Some(b' ') => &mut spec.has_blank,
            Some(b'#') => &mut spec.is_alternate,
            Some(b'0') => &mut spec.has_zeros,
            _ => break,
        };
        *flag = true;
        rest = &rest[1..];
    }
    let (width, behind) = number(rest, values)?;
    if let Some(width) = width {
        spec.is_left |= width < 0;
        spec.width = len(width.saturating_abs())?;
    }
    rest = behind;
    if let Some(behind) = rest.strip_prefix('.') {
        let (precision, behind) = number(behind, values)?;
        spec.precision = Some(len(precision.unwrap_or(0))?);
        rest = behind;
    }
    Ok((spec, rest))
}

/// Reads digits, or a star for a value that holds the number.
fn number<'f>(rest: &'f str, values: &mut Values) -> Result<(Option<i128>, &'f str)> {
    if let Some(behind) = rest.strip_prefix('*') {
        return match values.next()?.as_int() {
            Some(number) => Ok((Some(number), behind)),
            None => fail("* wants int"),
        };
    }
    let digits = rest.len() - rest.trim_start_matches(|char: char| char.is_ascii_digit()).len();
    match rest[..digits].parse() {
        Ok(number) => Ok((Some(number), &rest[digits..])),
        Err(_) if digits == 0 => Ok((None, rest)),
        Err(_) => fail("a width in a format is too large"),
    }
}

fn convert(kind: char, value: &Value, spec: &Spec, out: &mut String) -> Result<()> {
    let (is_negative, prefix, digits) = match kind {
        's' | 'r' | 'a' => {
            let text = match kind {
                's' => text_of(value),
                'r' => repr(value),
                _ => ascii(value),
            };
            let text: String = text.chars().take(spec.precision.unwrap_or(usize::MAX)).collect();
            return pad(&text, spec, out);
        }
        'c' => return pad(&character(value)?, spec, out),
        'd' | 'i' | 'u' => whole(truncated(value, kind)?, 'd', spec),
        'x' | 'X' | 'o' => match value.as_int() {
            Some(number) => whole(number, kind, spec),
            None => {
                return fail(format!("%{kind} format: an integer is required, not {}", value.type_name()));
            }
        },
        'e' | 'E' | 'f' | 'F' | 'g' | 'G' => {
            let Some(number) = value.as_float() else {
                return fail(format!("must be real number, not {}", value.type_name()));
            };
            let style = FloatStyle {
                kind: kind.to_ascii_lowercase(),
                precision: Some(spec.precision.unwrap_or(6)),
                is_alternate: spec.is_alternate,
            };
            let digits = float_digits(number.abs(), style);
            let digits = if kind.is_ascii_uppercase() { digits.to_uppercase() } else { digits };
            (number.is_sign_negative() && !number.is_nan(), "", digits)
        }
        _ => return fail(format!("unsupported format character `{kind}`")),
    };
    let sign = match (is_negative, spec.has_sign, spec.has_blank) {
        (true, ..) => "-",
        (_, true, _) => "+",
        (.., true) => " ",
        _ => "",
    };
    let zeros = if spec.has_zeros && !spec.is_left { spec.width } else { 0 };
    let zeros = zeros.saturating_sub(sign.len() + prefix.len() + digits.len());
    pad(&format!("{sign}{prefix}{}{digits}", "0".repeat(zeros)), spec, out)
}

/// Sign, prefix and digits of a whole number; a precision is the minimum number of digits.
fn whole(number: i128, kind: char, spec: &Spec) -> (bool, &'static str, String) {
    let digits = int_digits(number, kind);
    let zeros = spec.precision.unwrap_or(0).saturating_sub(digits.len());
    let prefix = match kind {
        'x' if spec.is_alternate => "0x",
        'X' if spec.is_alternate => "0X",
        'o' if spec.is_alternate => "0o",
        _ => "",
    };
    (number < 0, prefix, "0".repeat(zeros) + &digits)
}

fn truncated(value: &Value, kind: char) -> Result<i128> {
    match value {
        Value::Float(number) if number.abs() < 1e38 => Ok(number.trunc() as i128),
        Value::Float(_) => fail("cannot convert float infinity, NaN or a very large float to integer"),
        other => match other.as_int() {
            Some(number) => Ok(number),
            None => fail(format!("%{kind} format: a real number is required, not {}", other.type_name())),
        },
    }
}

fn character(value: &Value) -> Result<String> {
    let found = match value {
        Value::Str(text) => Some(text.text.to_string()).filter(|text| text.chars().count() == 1),
        other => other.as_int().and_then(|code| char::from_u32(u32::try_from(code).ok()?)).map(String::from),
    };
    found.map_or_else(|| fail("%c requires an integer or a character"), Ok)
}

/// `ascii(value)`: its `repr` with all other characters by their codes.
pub(super) fn ascii(value: &Value) -> String {
    repr(value).chars().map(|char| if char.is_ascii() { char.to_string() } else { escaped(char) }).collect()
}

fn pad(text: &str, spec: &Spec, out: &mut String) -> Result<()> {
    let spaces = spec.width.saturating_sub(text.chars().count());
    check_len(out.len() + spaces)?;
    if spec.is_left {
        out.push_str(text);
    }
    out.push_str(&" ".repeat(spaces));
    if !spec.is_left {
        out.push_str(text);
    }
    Ok(())
}
