//! Classes of characters.

use std::iter::Peekable;
use std::str::Chars;

use super::dialect::{Escaped, escape, push_literal};

/// ECMA-262's white space, as the inside of a class.
const SPACES: &str = r"\t\n\x0B\x0C\r \u00A0\u1680\u2000-\u200A\u2028\u2029\u202F\u205F\u3000\uFEFF";

/// Returns the class that a letter names.
pub(super) fn named(letter: char) -> String {
    let inside = match letter.to_ascii_lowercase() {
        'd' => "0-9",
        'w' => "0-9A-Za-z_",
        _ => SPACES,
    };
    let negation = if letter.is_ascii_uppercase() { "^" } else { "" };
    format!("[{negation}{inside}]")
}

/// Reads a class in brackets, the first of which was read.
///
/// `[`, `&&`, `--` and `~~` have a meaning within a class of `regex-syntax`, so all but the ranges
/// is escaped.
pub(super) fn bracketed(chars: &mut Peekable<Chars<'_>>, out: &mut String) -> Result<(), String> {
    out.push('[');
    if chars.next_if_eq(&'^').is_some() {
        out.push('^');
    }
    if chars.peek() == Some(&']') {
        return Err("a class without characters cannot be enforced".to_owned());
    }
    loop {
        let first = match member(chars)? {
            None => break,
            Some(Escaped::Class(class)) => {
                out.push_str(&class);
                continue;
            }
            Some(Escaped::Char(char)) => char,
        };
        push_member(out, first);
        // A hyphen is a range between two characters, and a character anywhere else.
        let mut ahead = chars.clone();
        if ahead.next() != Some('-') || ahead.peek().is_none_or(|next| *next == ']') {
            continue;
        }
        match member(&mut ahead)? {
            Some(Escaped::Char(last)) => {
                out.push('-');
                push_member(out, last);
                *chars = ahead;
            }
            _ => continue,
        }
    }
    out.push(']');
    Ok(())
}

/// Returns the next member of a class, or none at its end.
fn member(chars: &mut Peekable<Chars<'_>>) -> Result<Option<Escaped>, String> {
    match chars.next() {
        None => Err("a class is unclosed".to_owned()),
        Some(']') => Ok(None),
        Some('\\') => escape(chars, true).map(Some),
        Some(char) => Ok(Some(Escaped::Char(char))),
    }
}

fn push_member(out: &mut String, char: char) {
    if char.is_ascii_control() {
        out.push_str(&format!(r"\x{:02X}", char as u32));
    } else {
        push_literal(out, char);
    }
}
