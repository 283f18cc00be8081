//! Tokenises long texts in pieces: memory is bounded by a piece, a text that is far too long is not
//! tokenised to its end, and work stops at the next piece when the client leaves.

use super::{Seams, TextError, wanted};

/// Longest piece: each of its bytes takes microseconds and hundreds of bytes while it is tokenised.
const PIECE_BYTES: usize = 64 << 10;
/// A text of fewer bytes per allowed token than this is tokenised at once; usual ones have about
/// four.
const MAX_USUAL_BYTES_PER_TOKEN: usize = 8;
/// Longest part of a text without a place where it can be cut.
const MAX_SEAMLESS_BYTES: usize = 512 << 10;
/// Tokens that may differ at the end of a prefix, where a word is cut.
const MAX_CUT_TOKENS: usize = 16;
/// Maximum tokens of a text that is tokenised without another limit.
pub(super) const MAX_TOKENS: usize = 1 << 20;

/// How a tokenizer's texts can be cut into pieces.
#[derive(Debug, Clone, Copy)]
pub struct Pieces {
    pub(super) seams: Seams,
    /// Tokens that it puts before each text and behind it.
    pub(super) affixes: (usize, usize),
}

impl Pieces {
    /// For texts that cannot be cut, without special tokens around them.
    pub const WHOLE: Self = Self { seams: Seams::NONE, affixes: (0, 0) };

    /// Returns the length of the next piece, and whether the text can be cut there.
    fn next(self, text: &str, max_len: usize) -> (usize, bool) {
        if text.len() <= max_len {
            return (text.len(), true);
        }
        match self.seams.cut(text, max_len) {
            Some(len) => (len, len <= PIECE_BYTES),
            None => (text.len(), false),
        }
    }
}

/// Tokenises a text with `encode`, unless it has more than `max_tokens`, or [`MAX_TOKENS`] by
/// default. `encode` takes a piece and its offset.
///
/// # Errors
/// Those of `encode`; [`TextError::TooLong`], [`TextError::TooManyTokens`],
/// [`TextError::Seamless`]; [`TextError::Unwanted`].
pub fn encode_within<T>(
    text: &str,
    max_tokens: Option<usize>,
    pieces: Pieces,
    encode: impl Fn(&str, usize) -> Result<Vec<T>, TextError>,
) -> Result<Vec<T>, TextError> {
    let limit = max_tokens.unwrap_or(MAX_TOKENS);
    let max_len = limit.max(1).saturating_mul(MAX_USUAL_BYTES_PER_TOKEN).min(PIECE_BYTES);
    let (num_before, num_behind) = pieces.affixes;
    let (mut tokens, mut start) = (Vec::new(), 0);
    loop {
        wanted::check()?;
        let (len, is_short) = pieces.next(&text[start..], max_len);
        let piece = &text[start..start + len];
        if !is_short {
            let left = (limit + num_before + num_behind).saturating_sub(tokens.len());
            let surveyed = survey(piece, max_len, left, |beginning| encode(beginning, start));
            surveyed.map_err(|error| told_of_all(error, start, tokens.len(), max_tokens))?;
        }
        let mut of_piece = encode(piece, start)?;
        let end = start + len;
        if end < text.len() {
            of_piece.truncate(of_piece.len().saturating_sub(num_behind));
        }
        let num_dropped = if start > 0 { num_before.min(of_piece.len()) } else { 0 };
        tokens.extend(of_piece.drain(num_dropped..));
        if end == text.len() {
            return Ok(tokens);
        }
        if tokens.len() > limit + num_before {
            let error = TextError::TooLong { num_bytes: len, num_tokens: 0 };
            return Err(told_of_all(error, start, tokens.len(), max_tokens));
        }
        start = end;
    }
}

/// Checks whether a piece that cannot be cut is worth tokenising to its end.
///
/// The number of bytes does not show that: tokens can be long, and normalisation may drop text. So
/// prefixes of doubling length are tokenised until one exceeds the maximum by half.
fn survey<T>(
    piece: &str,
    first_len: usize,
    max_tokens: usize,
    encode: impl Fn(&str) -> Result<Vec<T>, TextError>,
) -> Result<(), TextError> {
    let mut len = first_len;
    while len < piece.len().min(MAX_SEAMLESS_BYTES + 1) {
        wanted::check()?;
        let end = piece.floor_char_boundary(len);
        let num_tokens = encode(&piece[..end])?.len();
        if num_tokens > max_tokens + max_tokens / 2 + MAX_CUT_TOKENS {
            return Err(TextError::TooLong { num_bytes: end, num_tokens });
        }
        len = len.saturating_mul(2);
    }
    if piece.len() > MAX_SEAMLESS_BYTES {
        return Err(TextError::Seamless { num_bytes: piece.len(), limit: MAX_SEAMLESS_BYTES });
    }
    Ok(())
}

/// Converts an error about a piece into one about the whole text.
fn told_of_all(error: TextError, start: usize, num_before: usize, max_tokens: Option<usize>) -> TextError {
    match error {
        TextError::TooLong { num_bytes, .. } if max_tokens.is_none() => {
            TextError::TooManyTokens { num_bytes: start + num_bytes, limit: MAX_TOKENS }
        }
        TextError::TooLong { num_bytes, num_tokens } => {
            TextError::TooLong { num_bytes: start + num_bytes, num_tokens: num_before + num_tokens }
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::cell::Cell;

    use super::*;
    use crate::text::Wanted;

    /// One prompt of megabytes would take seconds and gigabytes before it is refused, while others
    /// wait.
    #[test]
    fn no_more_is_tokenised_than_it_takes_to_know() {
        let text = "é".repeat(1 << 18);
        let num_encoded = Cell::new(0);
        // Two bytes a token, as in the worst case, then as long tokens as there are.
        for bytes_per_token in [2, 128] {
            num_encoded.set(0);
            let encode = |text: &str, _: usize| {
                num_encoded.update(|num_encoded| num_encoded + text.len());
                Ok(vec![0_u32; text.len() / bytes_per_token])
            };
            let error = encode_within(&text, Some(1000), Pieces::WHOLE, encode).unwrap_err().to_string();
            assert!(num_encoded.get() <= 4 * 1516 * bytes_per_token.max(8), "{}", num_encoded.get());
            assert!(error.starts_with("the first "), "{error}");
            let all = encode_within(&text, None, Pieces::WHOLE, encode).unwrap();
            assert_eq!(all.len(), text.len() / bytes_per_token);
        }
    }

    /// A prompt that fits would be refused for its bytes: of white space, or of something that the
    /// tokenizer drops.
    #[test]
    fn what_fits_is_never_refused() {
        let text = "x".repeat(100_000);
        let within = |max_tokens, len: fn(&str) -> usize| {
            encode_within(&text, Some(max_tokens), Pieces::WHOLE, |text, _| Ok(vec![0_u32; len(text)]))
        };
        assert_eq!(within(1000, |text| text.len() / 100).unwrap().len(), 1000);
        assert_eq!(within(0, |_| 3).unwrap().len(), 3);
        assert_eq!(
            within(1000, |text| text.len() / 90).unwrap().len(),
            1111,
            "the whole tells how long it is"
        );
    }

    /// Hundreds of bytes are held for each byte of a piece: one of megabytes would end the process.
    #[test]
    fn a_text_that_cannot_be_cut_is_bounded_and_so_are_tokens_that_nobody_has_asked_to_fit() {
        let encode = |text: &str, _: usize| Ok(vec![0_u32; text.len()]);
        let refused = |text: &str, max_tokens| {
            encode_within(text, max_tokens, Pieces::WHOLE, encode).unwrap_err().to_string()
        };
        let long = "x".repeat(MAX_SEAMLESS_BYTES + 1);
        assert_eq!(
            refused(&long, Some(1 << 30)),
            "524289 bytes of the text have no end of a word among them, limit is 524288"
        );
        let pieces = Pieces { seams: Seams::SAFE, affixes: (0, 0) };
        let error = encode_within(&"a b ".repeat(1 << 20), None, pieces, encode).unwrap_err().to_string();
        assert!(error.contains("limit is 1048576"), "{error}");
    }

    /// The megabytes of a client that has left would be tokenised in vain.
    #[test]
    fn nothing_more_is_tokenised_once_its_client_has_left() {
        let text = "word ".repeat(100_000);
        let wanted = Wanted::default();
        let (client, num_pieces) = (Cell::new(Some(wanted.clone().end_on_drop())), Cell::new(0));
        let pieces = Pieces { seams: Seams::SAFE, affixes: (0, 0) };
        let encode = |_: &str, _: usize| {
            num_pieces.update(|num_pieces| num_pieces + 1);
            drop(client.take());
            Ok(vec![0_u32])
        };
        let encoded = wanted.scope(|| encode_within(&text, None, pieces, encode));
        assert!(matches!(encoded, Err(TextError::Unwanted)), "{encoded:?}");
        assert_eq!(num_pieces.get(), 1);
    }
}
