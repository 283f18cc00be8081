//! Checks a client's own grammar before llguidance reads it.

use crate::error::GrammarError;
use crate::limits::{MAX_DEPTH, MAX_LARK_BYTES, MAX_LARK_RULES, check};

/// Refuses a grammar that would bypass the checks of schemas, or is nested too deep to be read.
pub(crate) fn check_lark(source: &str) -> Result<(), GrammarError> {
    check("the length of the grammar in bytes", source.len(), MAX_LARK_BYTES)?;
    check("the number of lines of the grammar", source.lines().count(), MAX_LARK_RULES)?;
    let unsupported = |keyword: &str, reason: &str| GrammarError::Unsupported {
        keyword: keyword.to_owned(),
        path: "grammar".to_owned(),
        reason: reason.to_owned(),
    };
    let outside = without_literals(source);
    if outside.contains("::=") {
        return Err(unsupported("::=", "this is EBNF, the notation of Lark is enforced"));
    }
    if outside.contains("%json") {
        return Err(unsupported("%json", "a schema goes into `json` or `structural_tag`"));
    }
    if outside.contains('@') {
        return Err(unsupported("@", "there is one grammar in a request"));
    }
    // Deciding whether an intersection is empty can take an automaton of any size.
    if outside.contains('&') {
        return Err(unsupported("&", "intersections of terminals are not compiled"));
    }
    let mut tildes = outside.split('~').skip(1);
    if !tildes.all(|rest| rest.trim_start().starts_with(|next: char| next.is_ascii_digit())) {
        return Err(unsupported("~", "negations of terminals are not compiled"));
    }
    let mut depth = 0usize;
    for char in outside.chars() {
        match char {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        check("the depth of the grammar", depth, MAX_DEPTH)?;
    }
    Ok(())
}

/// Returns the text without its strings, regular expressions and comments.
fn without_literals(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut chars = source.chars().peekable();
    while let Some(char) = chars.next() {
        let comment = char == '#' || (char == '/' && chars.peek() == Some(&'/'));
        match char {
            _ if comment => while chars.next_if(|next| *next != '\n').is_some() {},
            '"' | '/' => {
                while let Some(inner) = chars.next() {
                    if inner == '\\' {
                        chars.next();
                    } else if inner == char || inner == '\n' {
                        break;
                    }
                }
                out.push(' ');
            }
            _ => out.push(char),
        }
    }
    out
}
