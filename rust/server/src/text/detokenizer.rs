//! Token ids back to text, one token at a time.

use std::borrow::Cow;
use std::sync::Arc;

use super::token_table::{Leading, TokenKind, TokenTable};

/// Turns the tokens of one output into text as they come.
///
/// A token's bytes are looked up in a table, so a token costs its own length, never that of the output so far.
/// Only whole characters are handed out; at most three bytes of an unfinished one are kept. Bytes that cannot
/// become a character turn into U+FFFD. All pushed texts together equal
/// [`Tokenizer::decode`](super::Tokenizer::decode) of all tokens, whatever the tokens are.
#[derive(Debug, Clone)]
pub struct Detokenizer {
    table: Arc<TokenTable>,
    skip_special_tokens: bool,
    leading: Leading,
    pending: Vec<u8>,
}

impl Detokenizer {
    pub(super) fn new(table: Arc<TokenTable>, skip_special_tokens: bool) -> Self {
        let leading = table.leading();
        Self { table, skip_special_tokens, leading, pending: Vec::new() }
    }

    /// The bytes that `token` adds if it comes next; none if it leaves no trace in the text, as a special token that is left out.
    #[must_use]
    pub fn bytes(&self, token: u32) -> Option<Cow<'_, [u8]>> {
        let (kind, bytes) = self.table.token(token);
        let is_left_out = kind == TokenKind::Special && self.skip_special_tokens;
        (!is_left_out).then(|| self.leading.strip(kind, bytes).0)
    }

    /// What a token is called, text or not.
    #[must_use]
    pub fn name(&self, token: u32) -> &[u8] {
        self.table.token(token).1
    }

    /// Appends the text that `token` completes; an id without a token adds nothing.
    pub fn push(&mut self, token: u32, text: &mut String) {
        let (kind, bytes) = self.table.token(token);
        if bytes.is_empty() || (kind == TokenKind::Special && self.skip_special_tokens) {
            return;
        }
        let (bytes, leading) = self.leading.strip(kind, bytes);
        self.leading = leading;
        if self.pending.is_empty()
            && let Ok(whole) = std::str::from_utf8(&bytes)
        {
            text.push_str(whole);
            return;
        }
        self.pending.extend_from_slice(&bytes);
        self.drain(text);
    }

    /// Whether the tokens so far end inside a character.
    #[must_use]
    pub fn is_inside_character(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Ends the output: an unfinished character becomes U+FFFD.
    pub fn finish(&mut self, text: &mut String) {
        if !self.pending.is_empty() {
            text.push(char::REPLACEMENT_CHARACTER);
            self.pending.clear();
        }
    }

    /// Moves whole characters from `pending` to `text` and keeps what may still become one.
    fn drain(&mut self, text: &mut String) {
        let mut rest = self.pending.as_slice();
        loop {
            let error = match std::str::from_utf8(rest) {
                Ok(whole) => {
                    text.push_str(whole);
                    rest = &[];
                    break;
                }
                Err(error) => error,
            };
            let (whole, tail) = rest.split_at(error.valid_up_to());
            text.push_str(std::str::from_utf8(whole).expect("from_utf8 has just called it valid"));
            rest = tail;
            let Some(bad) = error.error_len() else { break };
            text.push(char::REPLACEMENT_CHARACTER);
            rest = &rest[bad..];
        }
        let done = self.pending.len() - rest.len();
        self.pending.drain(..done);
    }
}
