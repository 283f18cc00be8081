//! ECMA-262's notation to that of `regex-syntax`.

use std::iter::Peekable;
use std::str::Chars;

use super::class;

/// Rewrites a pattern; what both notations write alike passes through.
///
/// # Errors
/// Names what no automaton can do, or what the two notations take for different things.
pub(super) fn to_rust(pattern: &str) -> Result<String, String> {
    let mut out = String::with_capacity(pattern.len() + 16);
    let mut chars = pattern.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '\\' => match escape(&mut chars, false)? {
                Escaped::Char(char) => push_literal(&mut out, char),
                Escaped::Class(class) => out.push_str(&class),
            },
            // ECMA-262 has four line ends, `regex-syntax` one.
            '.' => out.push_str(r"[^\n\r\u2028\u2029]"),
            '[' => class::bracketed(&mut chars, &mut out)?,
            '(' => {
                out.push('(');
                group(&chars)?;
            }
            '{' if chars.peek() == Some(&',') => {
                return Err("`{,` means different things in different dialects, write `{0,`".to_owned());
            }
            _ => out.push(char),
        }
    }
    Ok(out)
}

/// Refuses groups that are more than groups.
fn group(rest: &Peekable<Chars<'_>>) -> Result<(), String> {
    let rest: String = rest.clone().take(4).collect();
    let Some(kind) = rest.strip_prefix('?') else { return Ok(()) };
    let refused = match kind.as_bytes() {
        [b'=' | b'!', ..] => "a lookahead cannot be enforced",
        [b'<', b'=' | b'!', ..] => "a lookbehind cannot be enforced",
        [b':' | b'<', ..] | [b'P', b'<', ..] | [b'i', b')' | b':', ..] => return Ok(()),
        _ => "only the flag `i` can be set within a pattern",
    };
    Err(refused.to_owned())
}

/// The meaning of a backslash and its next character.
pub(super) enum Escaped {
    Char(char),
    /// A class, in brackets or by name.
    Class(String),
}

/// Reads what follows a backslash.
pub(super) fn escape(chars: &mut Peekable<Chars<'_>>, in_class: bool) -> Result<Escaped, String> {
    let char = chars.next().ok_or("a backslash stands at the end")?;
    Ok(match char {
        'd' | 'D' | 'w' | 'W' | 's' | 'S' => Escaped::Class(class::named(char)),
        'p' | 'P' => Escaped::Class(property(char, chars)),
        'b' if in_class => Escaped::Char('\x08'),
        'b' | 'B' => return Err("a word boundary cannot be enforced".to_owned()),
        'k' | '1'..='9' => return Err("a backreference cannot be enforced".to_owned()),
        't' => Escaped::Char('\t'),
        'n' => Escaped::Char('\n'),
        'r' => Escaped::Char('\r'),
        'v' => Escaped::Char('\x0B'),
        'f' => Escaped::Char('\x0C'),
        '0' if !chars.peek().is_some_and(char::is_ascii_digit) => Escaped::Char('\0'),
        'c' => match chars.next() {
            Some(letter) if letter.is_ascii_alphabetic() => Escaped::Char((letter as u8 & 31).into()),
            _ => return Err(r"`\c` needs a letter".to_owned()),
        },
        'x' => Escaped::Char(code_point(hex(chars, 2)?)?),
        'u' => Escaped::Char(unicode(chars)?),
        _ if char.is_ascii_alphanumeric() => return Err(format!(r"`\{char}` is not known")),
        _ => Escaped::Char(char),
    })
}

/// `\u0041`, `\u{1F600}`, or two surrogates.
fn unicode(chars: &mut Peekable<Chars<'_>>) -> Result<char, String> {
    if chars.next_if_eq(&'{').is_some() {
        let digits: String = std::iter::from_fn(|| chars.next_if(char::is_ascii_hexdigit)).collect();
        chars.next_if_eq(&'}').ok_or(r"`\u{` is not closed")?;
        return code_point(u32::from_str_radix(&digits, 16).map_err(|error| error.to_string())?);
    }
    let first = hex(chars, 4)?;
    if !(0xD800..0xDC00).contains(&first) {
        return code_point(first);
    }
    let (backslash, letter) = (chars.next(), chars.next());
    if (backslash, letter) != (Some('\\'), Some('u')) {
        return code_point(first);
    }
    let second = hex(chars, 4)?;
    if !(0xDC00..0xE000).contains(&second) {
        return code_point(first);
    }
    code_point(0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00))
}

fn hex(chars: &mut Peekable<Chars<'_>>, num_digits: usize) -> Result<u32, String> {
    let digits: String = chars.take(num_digits).collect();
    let all_hex = digits.len() == num_digits && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    let code = all_hex.then(|| u32::from_str_radix(&digits, 16).ok()).flatten();
    code.ok_or_else(|| format!("`{digits}` is not {num_digits} hexadecimal digits"))
}

fn code_point(code: u32) -> Result<char, String> {
    char::from_u32(code)
        .ok_or_else(|| format!("U+{code:04X} alone is half of a surrogate pair, or no character"))
}

/// Returns a class by a property of Unicode, which both notations write alike.
fn property(letter: char, chars: &mut Peekable<Chars<'_>>) -> String {
    let mut class = format!(r"\{letter}");
    if chars.peek() == Some(&'{') {
        for char in chars.by_ref() {
            class.push(char);
            if char == '}' {
                break;
            }
        }
    }
    class
}

/// Appends a character that stands for itself.
pub(super) fn push_literal(out: &mut String, char: char) {
    let mut buffer = [0; 4];
    let text: &str = char.encode_utf8(&mut buffer);
    regex_syntax::escape_into(text, out);
}
