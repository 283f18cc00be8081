//! The echo of a prompt at the start of an answer.

use std::ops::Range;

use super::delta::{Delta, Scored, ShownToken};

/// The prompt of a choice, as it is echoed.
#[derive(Debug, Clone)]
pub enum Echo {
    /// As text. An unfinished character at its end is left to the answer.
    Text(String),
    /// As tokens and the text that they are, with their log-probabilities.
    Scored(Vec<u32>),
    /// As the client's own text and the tokens that were made of it, with their log-probabilities.
    /// The tokens' own text may lack special tokens, or be normalised.
    ScoredText {
        /// The text.
        text: String,
        /// Each token, and the bytes of the text that it was made of.
        tokens: Vec<(u32, Range<usize>)>,
    },
}

/// Appends a text and the tokens that were made of it. Tokens that share a character go together,
/// and text without a token, such as stripped white space, goes with the tokens before it:
///
/// ```text
/// text      "a é  b"    tokens   <s>     "a"    half of "é"   other half   "b"
///                       ranges   empty   0..1   2..4          2..4         6..7
///                       ends     0       2      6             6            7
/// ```
pub(super) fn tell_text(text: &str, ranges: &[Range<usize>], scores: Vec<Scored>, delta: &mut Delta) {
    let base = delta.text.len();
    delta.text.push_str(text);
    // The end of the last token with text.
    let mut reached = 0;
    let mut chars = Chars { text, position: 0, num_chars: 0 };
    let mut first_open = delta.tokens.len();
    for (range, scored) in ranges.iter().zip(scores) {
        let start = if range.is_empty() { reached } else { range.start };
        let offset = chars.count_to(start);
        if !range.is_empty() && start >= reached {
            let text_end = base + chars.position;
            delta.tokens[first_open..].iter_mut().for_each(|token| token.text_end = text_end);
            first_open = delta.tokens.len();
        }
        reached = reached.max(range.end);
        let logprobs = Some(scored);
        let (id, text_end) = (logprobs.as_ref().map_or(0, |scored| scored.id), delta.text.len());
        let token = ShownToken { id, text_end, offset, logprobs, is_prompt: true, ..ShownToken::default() };
        delta.tokens.push(token);
    }
}

/// Counts characters up to positions that never go back.
struct Chars<'a> {
    text: &'a str,
    position: usize,
    num_chars: usize,
}

impl Chars<'_> {
    /// Characters before the one that this byte belongs to, or before the last place if that is
    /// further on.
    fn count_to(&mut self, byte: usize) -> usize {
        for character in self.text[self.position..].chars() {
            if self.position + character.len_utf8() > byte {
                break;
            }
            self.position += character.len_utf8();
            self.num_chars += 1;
        }
        self.num_chars
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::path::Path;

    use super::*;
    use crate::text::Tokenizer;

    fn told(text: &str, ranges: &[Range<usize>]) -> Vec<(String, Vec<(u32, usize)>)> {
        let folder =
            concat!(env!("CARGO_MANIFEST_DIR"), "/../../python/streamcore/demo_model/tokenizer.json");
        let names = Tokenizer::load(Path::new(folder)).unwrap().detokenizer(false).names().clone();
        let scored =
            |id| Scored { id, logprob: Some(-1.0), top: vec![(id, -1.0); 300], names: names.clone() };
        let mut delta = Delta::default();
        tell_text(text, ranges, (0..ranges.len() as u32).map(scored).collect(), &mut delta);
        let of = |tokens: &[ShownToken]| tokens.iter().map(|token| (token.id, token.offset)).collect();
        delta.pieces().map(|(text, tokens)| (text.to_owned(), of(tokens))).collect()
    }

    /// A client that cuts the prompt off by its length, or lines tokens up with its text, would cut
    /// in the wrong place.
    #[test]
    fn a_text_is_told_with_the_tokens_that_were_made_of_it() {
        let drawing = [0..0, 0..1, 2..4, 2..4, 6..7];
        // Enough likely tokens that each group of tokens is its own piece.
        assert_eq!(
            told("a é  b", &drawing),
            [
                (String::new(), vec![(0, 0)]),
                ("a ".to_owned(), vec![(1, 0)]),
                ("é  ".to_owned(), vec![(2, 2), (3, 2)]),
                ("b".to_owned(), vec![(4, 5)]),
            ]
        );
        let chained = [0..2, 0..4, 2..4, 0..0];
        assert_eq!(told("éü", &chained), [("éü".to_owned(), vec![(0, 0), (1, 0), (2, 1), (3, 2)])]);
        assert_eq!(told("", &[0..0, 0..0]), [(String::new(), vec![(0, 0), (1, 0)])]);
    }

    /// A tokenizer that makes one token of a long word, or none of white space, would make an event
    /// that breaks clients.
    #[test]
    fn a_long_text_of_one_token_is_cut() {
        let text = "é".repeat(20_000);
        let pieces = told(&text, &[0..0, 0..40_000]);
        assert!(pieces.iter().all(|(text, _)| text.len() <= 8 << 10));
        assert_eq!(pieces.iter().map(|(text, _)| text.as_str()).collect::<String>(), text);
        assert_eq!(pieces.iter().map(|(_, tokens)| tokens.len()).sum::<usize>(), 2);
    }
}
