//! Strings cut into pieces, as Python cuts them.

use super::error::{Result, fail};
use super::scan::is_space;

const NO_SEPARATOR: &str = "empty separator";

/// `str.split`: without a separator, white space of any length is one.
pub(super) fn split<'t>(text: &'t str, separator: Option<&str>, limit: usize) -> Result<Vec<&'t str>> {
    let Some(separator) = separator else {
        let (mut words, mut rest) = (Vec::new(), text.trim_start_matches(is_space));
        while !rest.is_empty() {
            if words.len() == limit {
                words.push(rest);
                break;
            }
            let end = rest.find(is_space).unwrap_or(rest.len());
            words.push(&rest[..end]);
            rest = rest[end..].trim_start_matches(is_space);
        }
        return Ok(words);
    };
    if separator.is_empty() {
        return fail(NO_SEPARATOR);
    }
    Ok(text.splitn(limit.saturating_add(1), separator).collect())
}

/// `str.rsplit`: from the end, but the pieces in their order.
pub(super) fn right_split<'t>(text: &'t str, separator: Option<&str>, limit: usize) -> Result<Vec<&'t str>> {
    let mut pieces = match separator {
        Some("") => return fail(NO_SEPARATOR),
        Some(separator) => text.rsplitn(limit.saturating_add(1), separator).collect(),
        None => {
            let (mut words, mut rest) = (Vec::new(), text.trim_end_matches(is_space));
            while !rest.is_empty() {
                if words.len() == limit {
                    words.push(rest);
                    break;
                }
                let start = rest.char_indices().rev().find(|(_, char)| is_space(*char));
                let start = start.map_or(0, |(index, char)| index + char.len_utf8());
                words.push(&rest[start..]);
                rest = rest[..start].trim_end_matches(is_space);
            }
            words
        }
    };
    pieces.reverse();
    Ok(pieces)
}

pub(super) fn partition<'t>(text: &'t str, separator: &'t str) -> Result<[&'t str; 3]> {
    if separator.is_empty() {
        return fail(NO_SEPARATOR);
    }
    Ok(text.split_once(separator).map_or([text, "", ""], |(before, after)| [before, separator, after]))
}

pub(super) fn right_partition<'t>(text: &'t str, separator: &'t str) -> Result<[&'t str; 3]> {
    if separator.is_empty() {
        return fail(NO_SEPARATOR);
    }
    Ok(text.rsplit_once(separator).map_or(["", "", text], |(before, after)| [before, separator, after]))
}

/// `str.splitlines`: at everything that Python takes for the end of a line.
pub(super) fn split_lines(text: &str, keep_ends: bool) -> Vec<&str> {
    let is_end = |char| {
        matches!(
            char,
            '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}'
        )
    };
    let (mut lines, mut rest) = (Vec::new(), text);
    while !rest.is_empty() {
        let end = rest.find(is_end).unwrap_or(rest.len());
        let behind = &rest[end..];
        let end_len =
            if behind.starts_with("\r\n") { 2 } else { behind.chars().next().map_or(0, char::len_utf8) };
        lines.push(&rest[..if keep_ends { end + end_len } else { end }]);
        rest = &rest[end + end_len..];
    }
    lines
}
