//! Token ids back to text, one token at a time.

use std::sync::Arc;

use super::token_names::TokenNames;
use super::token_table::{Leading, TokenKind, TokenTable};

/// Turns the tokens of one output into text as they come.
///
/// A token's bytes are looked up in a table, so a token costs its own length, never that of the
/// output so far. Only whole characters are handed out; at most three bytes of an unfinished one
/// are kept. Bytes that cannot become a character turn into U+FFFD. All pushed texts together equal
/// [`Tokenizer::decode`](super::Tokenizer::decode) of all tokens, whatever the tokens are.
#[derive(Debug, Clone)]
pub struct Detokenizer {
    names: TokenNames,
    pending: Vec<u8>,
    /// Special tokens that are text although others are left out.
    markers: Option<Arc<[u32]>>,
}

impl Detokenizer {
    pub(super) fn new(table: Arc<TokenTable>, skip_special_tokens: bool) -> Self {
        let leading = table.leading();
        Self { names: TokenNames { table, skip_special_tokens, leading }, pending: Vec::new(), markers: None }
    }

    /// Keeps these special tokens in the text, for its parser.
    #[must_use]
    pub fn with_markers(self, markers: Arc<[u32]>) -> Self {
        Self { markers: Some(markers), ..self }
    }

    /// Starts behind `prompt`, as if it had been pushed. Only a prompt's ends matter: the decoder
    /// strips the start of the shown text, and the last three bytes may be part of an incomplete
    /// character.
    #[must_use]
    pub fn behind(mut self, prompt: &[u32]) -> Self {
        let mut text = String::new();
        let mut rest = prompt;
        while self.names.leading != Leading::Keep
            && let Some((first, others)) = rest.split_first()
        {
            self.push(*first, &mut text);
            rest = others;
        }
        let mut num_bytes = 0;
        let is_early = |token: &u32| {
            num_bytes += self.names.bytes(*token).map_or(0, |bytes| bytes.len());
            num_bytes >= 3
        };
        let start = rest.iter().rposition(is_early).unwrap_or(0);
        rest[start..].iter().for_each(|token| self.push(*token, &mut text));
        self
    }

    /// Returns the names of tokens at this place.
    #[must_use]
    pub fn names(&self) -> &TokenNames {
        &self.names
    }

    /// Returns the bytes of a token, text or not, wherever it stands.
    #[must_use]
    pub fn content(&self, token: u32) -> &[u8] {
        self.names.table.token(token).1
    }

    /// Appends the text that `token` completes; an id without a token adds nothing.
    pub fn push(&mut self, token: u32, text: &mut String) {
        let Self { names: TokenNames { table, skip_special_tokens, leading }, markers, .. } = self;
        let (kind, bytes) = table.token(token);
        let is_marker = || markers.as_ref().is_some_and(|markers| markers.contains(&token));
        if bytes.is_empty() || (kind == TokenKind::Special && *skip_special_tokens && !is_marker()) {
            return;
        }
        let (bytes, rest) = leading.strip(kind, bytes);
        *leading = rest;
        if self.pending.is_empty()
            && let Ok(whole) = std::str::from_utf8(&bytes)
        {
            text.push_str(whole);
            return;
        }
        self.pending.extend_from_slice(&bytes);
        self.drain(text);
    }

    /// Returns whether the text includes this token.
    #[must_use]
    pub fn shows(&self, token: u32) -> bool {
        self.names.bytes(token).is_some()
            || self.markers.as_ref().is_some_and(|markers| markers.contains(&token))
    }

    /// Returns whether the tokens so far end inside a character.
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
