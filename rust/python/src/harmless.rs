//! Untrusted text on a terminal or in a log: names of tensors, paths of requests, folders, keys of
//! files.
//!
//! Characters that move the cursor, hide or reverse their neighbours, or add a line are shown as
//! `\u` and four digits, in lines of text as in those of JSON.

use std::borrow::Cow;
use std::fmt::Write;

use pyo3::prelude::*;

/// Begins the commands of terminals.
const ESCAPE: char = '\x1b';

/// Returns whether a character does more than print.
fn is_harmful(character: char) -> bool {
    match character {
        '\n' | '\t' => false,
        // C0, DEL and C1.
        '\0'..='\x1f' | '\x7f'..='\u{9f}' => true,
        // The direction of text, and separators of lines and paragraphs.
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => true,
        _ => false,
    }
}

/// Returns the text with harmful characters written out, except those that `keeps` selects.
pub(crate) fn harmless(text: &str, keeps: impl Fn(char) -> bool) -> Cow<'_, str> {
    let is_shown = |character: char| !is_harmful(character) || keeps(character);
    if text.chars().all(is_shown) {
        return text.into();
    }
    let mut written = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if is_shown(character) {
            written.push(character);
        } else {
            let _ = write!(written, "\\u{:04x}", u32::from(character));
        }
    }
    written.into()
}

/// Returns a line of the log; its colours are kept.
pub(crate) fn harmless_line(line: &str) -> Cow<'_, str> {
    harmless(line, |character| character == ESCAPE)
}

/// Returns untrusted text with harmful characters written out, as `\u001b`; line feeds and tabs are
/// kept.
#[pyfunction]
pub(crate) fn harmless_text(text: &Bound<'_, pyo3::types::PyString>) -> String {
    harmless(&text.to_string_lossy(), |_| false).into_owned()
}
