//! `format(value, spec)`: Python's small language of fill, width and precision.

use super::arguments::check_len;
use super::error::{Result, fail};
use super::numbers::{FloatStyle, float_digits, grouped, int_digits};
use super::repr::text_of;
use super::value::Value;

#[derive(Debug, Default, Clone, Copy)]
struct Spec {
    fill: Option<char>,
    align: Option<char>,
    sign: Option<char>,
    /// `z`: no minus before a zero.
    has_plain_zero: bool,
    is_alternate: bool,
    width: usize,
    grouping: Option<char>,
    precision: Option<usize>,
    kind: Option<char>,
}

/// Formats a value by a specification that may be empty.
pub(super) fn format_value(value: &Value, spec: &str) -> Result<String> {
    if spec.is_empty() {
        return Ok(text_of(value));
    }
    let parsed = parse(spec)?;
    match (value, value.as_int()) {
        (Value::Str(text), _) => format_text(&text.text, parsed),
        (Value::Float(number), _) => format_float(*number, parsed),
        (_, Some(number)) => match parsed.kind {
            Some('e' | 'E' | 'f' | 'F' | 'g' | 'G' | '%') => format_float(number as f64, parsed),
            _ => format_int(number, parsed),
        },
        _ => fail(format!("unsupported format string passed to {}.__format__", value.type_name())),
    }
}

fn parse(spec: &str) -> Result<Spec> {
    let invalid = || fail(format!("invalid format specifier `{spec}`"));
    let is_align = |char: &char| matches!(char, '<' | '>' | '=' | '^');
    let mut parsed = Spec::default();
    let mut rest = spec;
    let mut chars = spec.chars();
    let (first, second) = (chars.next(), chars.next());
    if let (Some(fill), Some(align)) = (first, second.filter(is_align)) {
        (parsed.fill, parsed.align) = (Some(fill), Some(align));
        rest = &rest[fill.len_utf8() + 1..];
    } else if let Some(align) = first.filter(is_align) {
        parsed.align = Some(align);
        rest = &rest[1..];
    }
    let mut take = |known: &[char]| {
        let found = rest.chars().next().filter(|char| known.contains(char));
        if found.is_some() {
            rest = &rest[1..];
        }
        found
    };
    parsed.sign = take(&['+', '-', ' ']);
    parsed.has_plain_zero = take(&['z']).is_some();
    parsed.is_alternate = take(&['#']).is_some();
    if take(&['0']).is_some() {
        parsed.fill = parsed.fill.or(Some('0'));
        // Of a number the zeros stand behind its sign; a text keeps its side.
        parsed.align = parsed.align.or(Some('0'));
    }
    let digits = |rest: &mut &str| -> Option<Option<usize>> {
        let len = rest.find(|char: char| !char.is_ascii_digit()).unwrap_or(rest.len());
        let (number, behind) = rest.split_at(len);
        *rest = behind;
        if len == 0 { Some(None) } else { number.parse().ok().map(Some) }
    };
    let Some(width) = digits(&mut rest) else { return fail("too many decimal digits in format string") };
    parsed.width = width.unwrap_or(0);
    if let Some(grouping) = rest.chars().next().filter(|char| matches!(char, ',' | '_')) {
        parsed.grouping = Some(grouping);
        rest = &rest[1..];
    }
    if let Some(behind) = rest.strip_prefix('.') {
        rest = behind;
        match digits(&mut rest) {
            Some(Some(precision)) => parsed.precision = Some(precision),
            _ => return fail("format specifier is missing a precision"),
        }
    }
    let mut kinds = rest.chars();
    parsed.kind = kinds.next();
    if kinds.next().is_some() {
        return invalid();
    }
    check_len(parsed.width.max(parsed.precision.unwrap_or(0)))?;
    Ok(parsed)
}

fn unknown<T>(kind: Option<char>, name: &str) -> Result<T> {
    fail(format!("unknown format code `{}` for object of type `{name}`", kind.unwrap_or(' ')))
}

fn format_text(text: &str, spec: Spec) -> Result<String> {
    if !matches!(spec.kind, None | Some('s')) {
        return unknown(spec.kind, "str");
    }
    if spec.sign.is_some()
        || spec.align == Some('=')
        || spec.grouping.is_some()
        || spec.is_alternate
        || spec.has_plain_zero
    {
        return fail("a sign, `=`, `#`, `z` or a separator is not allowed in a string's format specifier");
    }
    let text: String = text.chars().take(spec.precision.unwrap_or(usize::MAX)).collect();
    Ok(pad("", &text, spec, '<'))
}

fn format_int(number: i128, spec: Spec) -> Result<String> {
    let kind = spec.kind.unwrap_or('d');
    if !matches!(kind, 'b' | 'c' | 'd' | 'n' | 'o' | 'x' | 'X') {
        return unknown(spec.kind, "int");
    }
    if spec.precision.is_some() || spec.has_plain_zero {
        return fail("neither a precision nor `z` is allowed in an integer's format specifier");
    }
    if kind == 'c' {
        if spec.sign.is_some() || spec.grouping.is_some() || spec.is_alternate {
            return fail("a sign, `#` or a separator is not allowed with integer format specifier `c`");
        }
        let char = u32::try_from(number).ok().and_then(char::from_u32);
        return match char {
            Some(char) => Ok(pad("", &char.to_string(), spec, '<')),
            None => fail("%c arg not in range(0x110000)"),
        };
    }
    let (group, is_decimal) = if matches!(kind, 'd' | 'n') { (3, true) } else { (4, false) };
    if spec.grouping.is_some_and(|separator| (separator == ',' && !is_decimal) || kind == 'n') {
        return fail(format!("cannot specify a separator with `{kind}`"));
    }
    let prefix = match kind {
        _ if !spec.is_alternate || is_decimal => "",
        'b' => "0b",
        'o' => "0o",
        'x' => "0x",
        _ => "0X",
    };
    Ok(pad_number(number < 0, prefix, &int_digits(number, kind), group, spec))
}

fn format_float(number: f64, spec: Spec) -> Result<String> {
    let kind = match spec.kind {
        None => 'r',
        Some('%') => 'f',
        Some('n') => 'g',
        Some(kind @ ('e' | 'E' | 'f' | 'F' | 'g' | 'G')) => kind.to_ascii_lowercase(),
        other => return unknown(other, "float"),
    };
    if spec.kind == Some('n') && spec.grouping.is_some() {
        return fail("cannot specify a separator with `n`");
    }
    let scaled = if spec.kind == Some('%') { number * 100.0 } else { number };
    let style = FloatStyle { kind, precision: spec.precision, is_alternate: spec.is_alternate };
    let mut digits = float_digits(scaled.abs(), style);
    if spec.kind.is_some_and(|kind| kind.is_ascii_uppercase()) {
        digits = digits.to_uppercase();
    }
    let is_zero = !digits.contains(|char: char| ('1'..='9').contains(&char)) && scaled.is_finite();
    let is_negative = scaled.is_sign_negative() && !scaled.is_nan() && !(spec.has_plain_zero && is_zero);
    if spec.kind == Some('%') {
        digits.push('%');
    }
    Ok(pad_number(is_negative, "", &digits, 3, spec))
}

fn pad_number(is_negative: bool, prefix: &str, digits: &str, group: usize, spec: Spec) -> String {
    let sign = match (is_negative, spec.sign) {
        (true, _) => "-",
        (false, Some('+')) => "+",
        (false, Some(' ')) => " ",
        _ => "",
    };
    let start = format!("{sign}{prefix}");
    let is_zero_filled = spec.fill == Some('0') && matches!(spec.align, Some('0' | '='));
    let digits = match spec.grouping {
        Some(separator) => {
            let width = if is_zero_filled { spec.width.saturating_sub(start.len()) } else { 0 };
            grouped(digits, separator, group, width)
        }
        None => digits.to_owned(),
    };
    let align = if spec.align == Some('0') { Some('=') } else { spec.align };
    pad(&start, &digits, Spec { align, ..spec }, '>')
}

/// Fills up to the width; `=` puts the fill behind `start`.
fn pad(start: &str, text: &str, spec: Spec, default: char) -> String {
    let missing = spec.width.saturating_sub(start.len() + text.chars().count());
    let align = spec.align.filter(|align| *align != '0').unwrap_or(default);
    let (before, inside) = match align {
        '<' => (0, 0),
        '^' => (missing / 2, 0),
        '=' => (0, missing),
        _ => (missing, 0),
    };
    let fill = |count: usize| String::from_iter(std::iter::repeat_n(spec.fill.unwrap_or(' '), count));
    format!("{}{start}{}{text}{}", fill(before), fill(inside), fill(missing - before - inside))
}
