//! A text that is far too long is not tokenised to its end: each of its bytes takes microseconds and hundreds of bytes.

use super::TextError;

/// A text with fewer bytes than this for each token that it may have is tokenised at once; usual ones have four or so.
const MAX_USUAL_BYTES_PER_TOKEN: usize = 8;
/// Tokens that may be different at the end of a beginning, where a word is cut.
const MAX_CUT_TOKENS: usize = 16;

/// The tokens of a text by `encode`, unless it is certain that they are more than `max_tokens`.
///
/// No number of bytes says that: tokens can be long, and what comes before them may drop a part of the text. So beginnings of the
/// text are tokenised, each twice as long as the one before, until one has half as many tokens again as there may be. What that
/// costs depends on the limit and not on the text, unless nearly all of the text is dropped.
///
/// # Errors
/// Those of `encode`; [`TextError::TooLong`].
pub fn encode_within<T>(
    text: &str,
    max_tokens: Option<usize>,
    encode: impl Fn(&str) -> Result<Vec<T>, TextError>,
) -> Result<Vec<T>, TextError> {
    let Some(max_tokens) = max_tokens else { return encode(text) };
    let mut len = max_tokens.max(1).saturating_mul(MAX_USUAL_BYTES_PER_TOKEN);
    while len < text.len() {
        let end = (0..=len).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        let num_tokens = encode(&text[..end])?.len();
        if num_tokens > max_tokens + max_tokens / 2 + MAX_CUT_TOKENS {
            return Err(TextError::TooLong { num_bytes: end, num_tokens });
        }
        len = len.saturating_mul(2);
    }
    encode(text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::cell::Cell;

    use super::*;

    /// One prompt of megabytes would take seconds and gigabytes before it is refused, while others wait.
    #[test]
    fn no_more_is_tokenised_than_it_takes_to_know() {
        let text = "é".repeat(1 << 20);
        let num_encoded = Cell::new(0);
        // Two bytes a token, as in the worst case, then as long tokens as there are.
        for bytes_per_token in [2, 128] {
            num_encoded.set(0);
            let encode = |text: &str| {
                num_encoded.update(|num_encoded| num_encoded + text.len());
                Ok(vec![0_u32; text.len() / bytes_per_token])
            };
            let error = encode_within(&text, Some(1000), encode).unwrap_err().to_string();
            assert!(num_encoded.get() <= 4 * 1516 * bytes_per_token.max(8), "{}", num_encoded.get());
            assert!(error.starts_with("the first "), "{error}");
            assert_eq!(encode_within(&text, None, encode).unwrap().len(), text.len() / bytes_per_token);
        }
    }

    /// A prompt that fits would be refused for its bytes: of white space, or of something that the tokenizer drops.
    #[test]
    fn what_fits_is_never_refused() {
        let text = "x".repeat(100_000);
        assert_eq!(
            encode_within(&text, Some(1000), |text| Ok(vec![0_u32; text.len() / 100])).unwrap().len(),
            1000
        );
        assert_eq!(encode_within(&text, Some(0), |_| Ok(vec![0_u32; 3])).unwrap().len(), 3);
        let in_between = encode_within(&text, Some(1000), |text| Ok(vec![0_u32; text.len() / 90]));
        assert_eq!(in_between.unwrap().len(), 1111, "the whole prompt tells how long it is");
    }
}
