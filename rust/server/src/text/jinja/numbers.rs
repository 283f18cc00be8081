//! Numbers in digits, for both ways of formatting.

use super::repr::{float, signed_exponent};

/// The format of a float's digits.
#[derive(Debug, Clone, Copy)]
pub(super) struct FloatStyle {
    /// One of `e`, `f`, `g`, `r`; `r` is what `repr` writes, or with a precision `g` that keeps a
    /// digit behind the point.
    pub(super) kind: char,
    pub(super) precision: Option<usize>,
    /// Keeps the point and the zeros behind it.
    pub(super) is_alternate: bool,
}

/// Returns the digits of a number that is not negative.
pub(super) fn float_digits(number: f64, style: FloatStyle) -> String {
    let FloatStyle { kind, precision, is_alternate } = style;
    if !number.is_finite() {
        return float(number);
    }
    match (kind, precision) {
        ('e', precision) => {
            let text = format!("{number:.*e}", precision.unwrap_or(6));
            let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
            pointed(mantissa, is_alternate) + &signed_exponent(exponent)
        }
        ('f', precision) => pointed(&format!("{number:.*}", precision.unwrap_or(6)), is_alternate),
        ('r', None) => float(number),
        (kind, precision) => general(number, precision.unwrap_or(6).max(1), kind == 'r', is_alternate),
    }
}

fn pointed(digits: &str, is_alternate: bool) -> String {
    if is_alternate && !digits.contains('.') { format!("{digits}.") } else { digits.to_owned() }
}

/// Returns `precision` digits, with an exponent if the number is small or has more.
fn general(number: f64, precision: usize, keeps_digit: bool, is_alternate: bool) -> String {
    let text = format!("{number:.*e}", precision - 1);
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let power: i64 = exponent.parse().unwrap_or(0);
    let highest = precision as i64 - i64::from(keeps_digit);
    let trimmed = |digits: &str| match digits.contains('.') {
        true if !is_alternate => digits.trim_end_matches('0').trim_end_matches('.').to_owned(),
        _ => pointed(digits, is_alternate),
    };
    if power < -4 || power >= highest {
        return trimmed(mantissa) + &signed_exponent(exponent);
    }
    let decimals = usize::try_from(precision as i64 - 1 - power).unwrap_or(0);
    let digits = trimmed(&format!("{number:.decimals$}"));
    if keeps_digit && !digits.contains('.') { digits + ".0" } else { digits }
}

/// Returns the digits of a whole number without its sign.
pub(super) fn int_digits(number: i128, kind: char) -> String {
    let number = number.unsigned_abs();
    match kind {
        'x' => format!("{number:x}"),
        'X' => format!("{number:X}"),
        'o' => format!("{number:o}"),
        'b' => format!("{number:b}"),
        _ => number.to_string(),
    }
}

/// Puts a separator between groups of the digits in front of the point; zeros in front make them
/// `width` long.
pub(super) fn grouped(digits: &str, separator: char, group: usize, width: usize) -> String {
    let whole_len = digits.find(|char: char| !char.is_ascii_hexdigit()).unwrap_or(digits.len());
    // An exponent's letter is a hexadecimal digit, too, but never stands in front of a point.
    let whole_len = if group == 3 {
        digits.find(|char: char| !char.is_ascii_digit()).unwrap_or(digits.len())
    } else {
        whole_len
    };
    let (whole, rest) = digits.split_at(whole_len);
    let width = width.saturating_sub(rest.len());
    let with_separators = |len: usize| len + len.saturating_sub(1) / group;
    let mut len = whole.len();
    while with_separators(len) < width {
        len += 1;
    }
    let padded = format!("{}{whole}", "0".repeat(len - whole.len()));
    let mut out = String::with_capacity(with_separators(len) + rest.len());
    for (index, digit) in padded.chars().enumerate() {
        if index > 0 && (len - index).is_multiple_of(group) {
            out.push(separator);
        }
        out.push(digit);
    }
    out + rest
}
