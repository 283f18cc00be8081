//! The names of tokens in log-probabilities.

use std::borrow::Cow;
use std::sync::Arc;

use super::token_table::{Leading, TokenKind, TokenTable};

/// The tokens at one place of an output: leading spaces that the decoder strips there are not part
/// of them.
#[derive(Debug, Clone)]
pub struct TokenNames {
    pub(super) table: Arc<TokenTable>,
    pub(super) skip_special_tokens: bool,
    pub(super) leading: Leading,
}

impl TokenNames {
    /// Returns the bytes that `token` adds if it comes next; none if it leaves no trace in the
    /// text, as a special token that is left out.
    #[must_use]
    pub fn bytes(&self, token: u32) -> Option<Cow<'_, [u8]>> {
        let (kind, bytes) = self.table.token(token);
        let is_left_out = kind == TokenKind::Special && self.skip_special_tokens;
        (!is_left_out).then(|| self.leading.strip(kind, bytes).0)
    }

    /// Returns the name of `token` here, text or not, see [`token_name`].
    #[must_use]
    pub fn name(&self, token: u32) -> Cow<'_, str> {
        match self.bytes(token) {
            Some(Cow::Borrowed(bytes)) => token_name(bytes),
            Some(Cow::Owned(bytes)) => token_name(&bytes).into_owned().into(),
            None => token_name(self.table.token(token).1),
        }
    }

    /// Returns an upper bound of the JSON of name, bytes and log-probability of `token`, in any
    /// format.
    #[must_use]
    pub fn max_json_len(&self, token: u32) -> usize {
        80 + 6 * self.name(token).len() + 4 * self.bytes(token).map_or(0, |bytes| bytes.len())
    }
}

/// Returns the name of a token; for part of a character OpenAI's form of its bytes. Replacement
/// characters would give many tokens one name, and lose all but one where names are keys.
#[must_use]
pub fn token_name(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => bytes.iter().fold("bytes:".to_owned(), |name, byte| format!("{name}\\x{byte:02x}")).into(),
    }
}
