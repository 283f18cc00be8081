//! A tokenizer for grammars: text, and markers.

use streamcore_grammar::{Piece, Token};

use super::Tokenizer;
use super::token_table::TokenKind;

impl Tokenizer {
    /// Returns the first `num_tokens` tokens, in the order of their ids.
    pub fn grammar_tokens(&self, num_tokens: usize) -> impl Iterator<Item = Token<'_>> {
        (0..num_tokens as u32).map(|id| match self.table().token(id) {
            (_, []) => Token::Unused,
            (kind, bytes) if is_text(kind, bytes) => Token::Text(bytes),
            (_, bytes) => std::str::from_utf8(bytes).map_or(Token::Unused, Token::Special),
        })
    }

    /// Returns a text that a model writes, cut where it has markers.
    #[must_use]
    pub fn pieces(&self, text: &str) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let (mut rest, mut plain) = (text, String::new());
        while let Some(next) = rest.chars().next() {
            let Some((marker, id)) = self.marker_at(rest) else {
                plain.push(next);
                rest = &rest[next.len_utf8()..];
                continue;
            };
            if !plain.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut plain)));
            }
            pieces.push(Piece::Token(id));
            rest = &rest[marker.len()..];
        }
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        pieces
    }

    /// Returns the longest marker with which a text begins.
    fn marker_at<'a>(&self, text: &'a str) -> Option<(&'a str, u32)> {
        const OPENINGS: [char; 2] = ['<', '['];
        if !text.starts_with(OPENINGS) {
            return None;
        }
        // No marker is longer.
        let ends: Vec<usize> = text.char_indices().map(|(at, char)| at + char.len_utf8()).take(64).collect();
        ends.into_iter().rev().find_map(|end| Some((&text[..end], self.added_token_id(&text[..end])?)))
    }
}

/// Returns whether a token is text: not an added token, except the runs of space that some
/// tokenizers add.
fn is_text(kind: TokenKind, bytes: &[u8]) -> bool {
    kind == TokenKind::Text || kind == TokenKind::Added && bytes.iter().all(u8::is_ascii_whitespace)
}
