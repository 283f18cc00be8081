//! Words, numbers and quoted texts of a template.

use super::error::{Error, Result, fail};
use super::lexer::TokenKind;

/// Returns whether Python counts this as white space: Unicode's, and the four ASCII separators.
pub(super) fn is_space(char: char) -> bool {
    char.is_whitespace() || matches!(char, '\u{1c}'..='\u{1f}')
}

/// Returns the length of the identifier at the start of `rest`.
pub(super) fn word(rest: &str) -> Option<usize> {
    let first = rest.chars().next()?;
    if !(first == '_' || first.is_alphabetic()) {
        return None;
    }
    Some(rest.find(|char: char| char != '_' && !char.is_alphanumeric()).unwrap_or(rest.len()))
}

/// Returns the number at the start of `rest` and its length; behind a dot only an integer, as in
/// `a.0.1`.
pub(super) fn number(rest: &str, follows_dot: bool) -> Result<(TokenKind, usize)> {
    let digits = run(rest, 10);
    let mut len = digits;
    if !follows_dot {
        if rest[len..].starts_with('.') && run(&rest[len + 1..], 10) > 0 {
            len += 1 + run(&rest[len + 1..], 10);
        }
        if let Some(exponent) = rest[len..].strip_prefix(['e', 'E']) {
            let sign = usize::from(exponent.starts_with(['+', '-']));
            let power = run(&exponent[sign..], 10);
            len += if power > 0 { 1 + sign + power } else { 0 };
        }
    }
    if len > digits {
        let text = rest[..len].replace('_', "");
        return text.parse().map(|number| (TokenKind::Float(number), len)).map_err(|_| bad_number(&text));
    }
    for (prefix, radix) in [("0b", 2), ("0o", 8), ("0x", 16)] {
        if rest.get(..2).is_some_and(|start| start.eq_ignore_ascii_case(prefix)) {
            let skipped = 2 + usize::from(rest[2..].starts_with('_'));
            let len = skipped + run(&rest[skipped..], radix);
            return integer(&rest[skipped..len], radix).map(|kind| (kind, len));
        }
    }
    // Only zeros may begin with a zero.
    let zeros = rest[..digits].trim_start_matches(['0', '_']).is_empty();
    if rest.starts_with('0') && !zeros {
        return Err(bad_number(&rest[..digits]));
    }
    integer(&rest[..digits], 10).map(|kind| (kind, digits))
}

fn integer(digits: &str, radix: u32) -> Result<TokenKind> {
    let text = digits.replace('_', "");
    i128::from_str_radix(&text, radix).map(TokenKind::Int).map_err(|_| bad_number(&text))
}

fn bad_number(text: &str) -> Error {
    Error::new(format!("`{text}` is no number"))
}

/// Returns how many bytes are digits, with single underscores between them.
fn run(rest: &str, radix: u32) -> usize {
    let mut len = 0;
    for (index, char) in rest.char_indices() {
        if char.is_digit(radix) {
            len = index + 1;
        } else if char != '_' || index != len || len == 0 {
            break;
        }
    }
    len
}

/// Returns the quoted text at the start of `rest` and its length with the quotes.
pub(super) fn string(rest: &str, quote: char) -> Result<(String, usize)> {
    let mut is_escaped = false;
    for (index, char) in rest.char_indices().skip(1) {
        if is_escaped {
            is_escaped = false;
        } else if char == '\\' {
            is_escaped = true;
        } else if char == quote {
            return Ok((unescaped(&rest[1..index])?, index + 1));
        }
    }
    fail(format!("a quoted text is not closed, `{quote}` is missing"))
}

/// Python's escapes; a backslash before anything else stays.
fn unescaped(text: &str) -> Result<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find('\\') {
        out.push_str(&rest[..start]);
        rest = &rest[start + 1..];
        let Some(kind) = rest.chars().next() else { return fail("a quoted text ends in a backslash") };
        let mut len = kind.len_utf8();
        match kind {
            '\n' => {}
            '\\' | '\'' | '"' => out.push(kind),
            'n' => out.push('\n'),
            'r' => out.push('\r'),
            't' => out.push('\t'),
            'b' => out.push('\u{8}'),
            'f' => out.push('\u{c}'),
            'v' => out.push('\u{b}'),
            'a' => out.push('\u{7}'),
            '0'..='7' => {
                len = rest.chars().take(3).take_while(|char| char.is_digit(8)).count();
                out.push(character(&rest[..len], 8)?);
            }
            'x' | 'u' | 'U' => {
                len = 1 + match kind {
                    'x' => 2,
                    'u' => 4,
                    _ => 8,
                };
                out.push(character(rest.get(1..len).unwrap_or_default(), 16)?);
            }
            'N' => return fail("`\\N{...}` in a quoted text is not supported, write the character itself"),
            other => out.extend(['\\', other]),
        }
        rest = &rest[len..];
    }
    out.push_str(rest);
    Ok(out)
}

fn character(digits: &str, radix: u32) -> Result<char> {
    let code = u32::from_str_radix(digits, radix).ok().and_then(char::from_u32);
    code.ok_or_else(|| Error::new(format!("`{digits}` in a quoted text is the code of no character")))
}
