//! Places where a text can be cut so that its parts have the tokens of the whole.
//!
//! ```text
//! "…brown fox| jumped…"       before a space or line feed between two letters or digits
//! "…jumped.\n|Then…"          behind a line feed, between visible text and a letter or digit
//! ```
//!
//! No token reaches over such a place if none of the vocabulary does; the expressions that cut
//! texts into words end one there, and begin the next as they begin a text. A tokenizer's changes
//! at the start of a text (some add a space) or before tokenising (some drop or compose characters)
//! can break that, so each is also tested.

use super::token_table::TokenTable;

/// Text to test each seam: words, numbers, marks and white space of all kinds, in several scripts.
const SAMPLE: &str = "The 3 quick brown foxes\njumped over 12 345 lazy dogs, didn't they? I'd say it 's so.\nAnd\n\nfn main() {\n    let x1 = 100 + y;\n}\r\n\
    Über naïve Straßen e\u{301}te\u{301} 2\u{b2} x\nΕλλάδα на русском языке 中文 字符。\n中文\n문장 입니다 العربية كلمة हिन्दी में\ttab a b  c   d!\n12\n\
    http://a.example/b?c=d e_f CamelCase HTML5 v2 3.14 1,000 00 a\u{a0}b \u{3000}c";

/// The kinds of seams of a tokenizer.
#[derive(Debug, Clone, Copy)]
pub struct Seams {
    before_spaces: bool,
    behind_lines: bool,
}

/// A kind of seam: where a text can be cut at white space, if anywhere.
type Kind = fn(&str, usize) -> Option<usize>;

impl Seams {
    /// For texts that cannot be cut.
    pub const NONE: Self = Self { before_spaces: false, behind_lines: false };
    #[cfg(test)]
    pub(super) const SAFE: Self = Self { before_spaces: true, behind_lines: true };

    pub(super) fn new(encoder: &tokenizers::Tokenizer, table: &TokenTable) -> Self {
        let strips_behind_word = encoder.get_added_tokens_decoder().into_values().any(|token| {
            token.rstrip && token.content.chars().next_back().is_some_and(char::is_alphanumeric)
        });
        let is_space = |character: char| matches!(character, ' ' | '\n');
        let before_spaces = !strips_behind_word
            && !has_token_with(table, is_of_word, is_space)
            && holds_in_sample(encoder, before_space);
        let strips =
            encoder.get_added_tokens_decoder().into_values().any(|token| token.lstrip || token.rstrip);
        let is_line_feed = |character: char| character == '\n';
        let behind_lines = !strips
            && !has_token_with(table, is_line_feed, is_of_word)
            && holds_in_sample(encoder, behind_line);
        Self { before_spaces, behind_lines }
    }

    /// Returns the last seam up to this length, or else the first one behind it.
    pub(super) fn cut(self, text: &str, max_len: usize) -> Option<usize> {
        let end = text.floor_char_boundary(max_len);
        let before = text[..end].rmatch_indices([' ', '\n']).map(|(at, _)| at);
        let behind = text[end..].match_indices([' ', '\n']).map(|(at, _)| end + at);
        let seam = |at| {
            let of_space = before_space(text, at).filter(|_| self.before_spaces);
            of_space.or_else(|| behind_line(text, at).filter(|_| self.behind_lines))
        };
        let is_any = self.before_spaces || self.behind_lines;
        is_any.then(|| before.chain(behind).find_map(seam)).flatten()
    }
}

fn before_space(text: &str, at: usize) -> Option<usize> {
    let (before, behind) = (text[..at].chars().next_back()?, text[at + 1..].chars().next()?);
    (is_of_word(before) && is_of_word(behind)).then_some(at)
}

fn behind_line(text: &str, at: usize) -> Option<usize> {
    let (before, behind) = (text[..at].chars().next_back()?, text[at + 1..].chars().next()?);
    let is_seam = text.as_bytes()[at] == b'\n' && !before.is_whitespace() && is_of_word(behind);
    is_seam.then_some(at + 1)
}

/// Returns whether a character belongs to a word; part of a character may.
fn is_of_word(character: char) -> bool {
    character.is_alphanumeric() || character == char::REPLACEMENT_CHARACTER
}

/// Returns whether a token has one of these characters before one of those.
fn has_token_with(
    table: &TokenTable,
    is_first: impl Fn(char) -> bool,
    is_next: impl Fn(char) -> bool,
) -> bool {
    (0..table.len()).any(|id| {
        let text = String::from_utf8_lossy(table.token(id as u32).1);
        text.chars().zip(text.chars().skip(1)).any(|(one, next)| is_first(one) && is_next(next))
    })
}

fn holds_in_sample(encoder: &tokenizers::Tokenizer, kind: Kind) -> bool {
    let encode = |text: &str| encoder.encode_fast(text, false).map(|encoding| encoding.get_ids().to_vec());
    let Ok(whole) = encode(SAMPLE) else { return false };
    let places = SAMPLE.match_indices([' ', '\n']).filter_map(|(at, _)| kind(SAMPLE, at));
    let mut seams = places.peekable();
    seams.peek().is_some()
        && seams.all(|at| match (encode(&SAMPLE[..at]), encode(&SAMPLE[at..])) {
            (Ok(before), Ok(behind)) => [before, behind].concat() == whole,
            _ => false,
        })
}
