//! Lines of a given width, as Python's `textwrap` makes them.

use super::error::{Result, fail};

#[derive(Debug)]
pub(super) struct Wrap {
    pub(super) width: i128,
    pub(super) breaks_long_words: bool,
    pub(super) breaks_on_hyphens: bool,
}

/// Returns whether `textwrap` treats this as white space.
fn is_blank(char: char) -> bool {
    matches!(char, '\t' | '\n' | '\u{b}' | '\u{c}' | '\r' | ' ')
}

fn is_word(char: char) -> bool {
    char == '_' || char.is_alphanumeric()
}

fn is_letter(char: char) -> bool {
    is_word(char) && !char.is_numeric()
}

/// Wraps one line.
pub(super) fn wrap(line: &str, wrapping: &Wrap) -> Result<Vec<String>> {
    let Ok(width) = usize::try_from(wrapping.width) else { return fail("`wordwrap` needs a width above 0") };
    if width == 0 {
        return fail("`wordwrap` needs a width above 0");
    }
    let chars: Vec<char> = line.chars().collect();
    let mut chunks = chunks(&chars, wrapping.breaks_on_hyphens);
    chunks.reverse();
    let mut lines = Vec::new();
    while let Some(last) = chunks.last() {
        // White space at the start of a broken line is dropped.
        if !lines.is_empty() && last.iter().all(|char| is_blank(*char)) {
            chunks.pop();
        }
        let (mut current, mut len): (Vec<Vec<char>>, usize) = (Vec::new(), 0);
        while let Some(chunk) = chunks.pop_if(|chunk| len + chunk.len() <= width) {
            len += chunk.len();
            current.push(chunk);
        }
        if chunks.last().is_some_and(|chunk| chunk.len() > width) {
            let part = long_word(&mut chunks, width - len, current.is_empty(), wrapping);
            current.extend(part);
        }
        if current.last().is_some_and(|chunk| chunk.iter().all(|char| is_blank(*char))) {
            current.pop();
        }
        if !current.is_empty() {
            lines.push(current.into_iter().flatten().collect());
        }
    }
    Ok(lines)
}

/// Splits a word that no line can hold, unless it may not be broken and is alone on its line.
fn long_word(
    chunks: &mut Vec<Vec<char>>,
    space: usize,
    is_first: bool,
    wrapping: &Wrap,
) -> Option<Vec<char>> {
    if !wrapping.breaks_long_words {
        return if is_first { chunks.pop() } else { None };
    }
    let chunk = chunks.last_mut()?;
    let mut end = space;
    if wrapping.breaks_on_hyphens && chunk.len() > space {
        let hyphen = chunk[..space].iter().rposition(|char| *char == '-');
        if let Some(hyphen) = hyphen.filter(|hyphen| chunk[..*hyphen].iter().any(|char| *char != '-')) {
            end = hyphen + 1;
        }
    }
    let rest = chunk.split_off(end.min(chunk.len()));
    Some(std::mem::replace(chunk, rest))
}

/// Returns the words and the white space between them.
fn chunks(chars: &[char], with_hyphens: bool) -> Vec<Vec<char>> {
    let (mut chunks, mut start) = (Vec::new(), 0);
    while start < chars.len() {
        let end = if is_blank(chars[start]) {
            start + chars[start..].iter().take_while(|char| is_blank(**char)).count()
        } else if with_hyphens {
            word_end(chars, start)
        } else {
            start + chars[start..].iter().take_while(|char| !is_blank(**char)).count()
        };
        chunks.push(chars[start..end].to_vec());
        start = end;
    }
    chunks
}

/// Returns where a word ends: at white space, behind a hyphen between letters, around a dash of two
/// hyphens.
fn word_end(chars: &[char], start: usize) -> usize {
    let at = |index: usize| chars.get(index).copied();
    let is_before_dash = |index: usize| {
        index.checked_sub(1).and_then(at).is_some_and(|char| is_word(char) || "!\"'&.,?".contains(char))
    };
    let dash_len = |index: usize| chars[index..].iter().take_while(|char| **char == '-').count();
    let is_dash = |index: usize| {
        let len = dash_len(index);
        len >= 2 && at(index + len).is_some_and(is_word)
    };
    if is_before_dash(start) && is_dash(start) {
        return start + dash_len(start);
    }
    let letter = |index: Option<usize>| index.and_then(at).is_some_and(is_letter);
    for end in start + 1..=chars.len() {
        let is_end = at(end).is_none_or(is_blank);
        let hyphen = end - 1;
        let is_hyphenated = hyphen > start && chars[hyphen] == '-' && {
            let before = letter(hyphen.checked_sub(1))
                && (letter(hyphen.checked_sub(2))
                    || (hyphen.checked_sub(2).and_then(at) == Some('-') && letter(hyphen.checked_sub(3))));
            let next = if at(end + 1) == Some('-') { end + 2 } else { end + 1 };
            before && letter(Some(end)) && (letter(Some(end + 1)) || letter(Some(next)))
        };
        if is_end || is_hyphenated || (is_before_dash(end) && end < chars.len() && is_dash(end)) {
            return end;
        }
    }
    chars.len()
}
