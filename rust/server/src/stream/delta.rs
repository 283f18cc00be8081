//! New output of a choice: text, and its tokens.

use std::mem;

use super::part::{Part, Said};
use crate::asked::Details;
use crate::text::TokenNames;

/// Maximum bytes of text in one event. JSON makes up to six bytes of one, and an event must stay
/// under 64 KiB.
const MAX_PIECE_BYTES: usize = 8 << 10;
/// Maximum bytes of JSON of the text and the tokens of one event.
const MAX_PIECE_JSON_BYTES: usize = 48 << 10;

/// Text that has become certain, and its tokens if they are reported.
#[derive(Debug, Clone, Default)]
pub struct Delta {
    /// The text.
    pub text: String,
    /// The tokens that have a part in it, in order.
    pub tokens: Vec<ShownToken>,
    /// The parts of a parsed answer; then all text and tokens are in these.
    pub parts: Vec<Part>,
    /// The last tokens of the answer that have no text; no more than fit into one event.
    pub tail: Vec<ShownToken>,
}

/// A token that is reported.
#[derive(Debug, Clone, Default)]
pub struct ShownToken {
    /// The token's id.
    pub id: u32,
    /// Whether it belongs to the prompt.
    pub is_prompt: bool,
    /// Where the text that it is part of ends, in bytes of the delta's text.
    pub text_end: usize,
    /// That text is reasoning.
    pub is_reasoning: bool,
    /// Whether it has no text and stands behind that text.
    pub is_textless: bool,
    /// Characters of the choice's text before it.
    pub offset: usize,
    /// Its log-probabilities, if requested.
    pub logprobs: Option<Scored>,
}

/// The log-probabilities of one position. Their tokens' names are looked up when written: there are
/// many, and most are in the tokenizer's table.
#[derive(Debug, Clone)]
pub struct Scored {
    /// The token that is there.
    pub id: u32,
    /// Its log-probability; the first token of a prompt has none.
    pub logprob: Option<f32>,
    /// The likeliest tokens, best first.
    pub top: Vec<(u32, f32)>,
    /// The names of tokens.
    pub names: TokenNames,
}

impl Scored {
    /// Returns an upper bound of its length as JSON, in any format.
    fn max_json_len(&self) -> usize {
        let ids = self.top.iter().map(|(id, _)| *id).chain([self.id]);
        ids.map(|id| self.names.max_json_len(id)).sum()
    }
}

impl ShownToken {
    fn max_json_len(&self) -> usize {
        32 + self.logprobs.as_ref().map_or(0, Scored::max_json_len)
    }
}

impl Delta {
    /// Clears the delta.
    pub fn clear(&mut self) {
        self.text.clear();
        self.tokens.clear();
        self.parts.clear();
        self.tail.clear();
    }

    /// Joins all tokens into one list, those without text last.
    pub fn join_tokens(&mut self) {
        let mut tokens: Vec<_> = self.parts.iter_mut().flat_map(|part| part.tokens.drain(..)).collect();
        if !tokens.is_empty() {
            tokens.append(&mut self.tokens);
            self.tokens = tokens;
        }
        self.tokens.append(&mut self.tail);
    }

    /// Adds a token without text behind the text so far.
    pub(super) fn tell_textless(&mut self, token: ShownToken) {
        self.tokens.push(ShownToken { text_end: self.text.len(), is_textless: true, ..token });
    }

    /// Moves tokens that do not fit into the last event to an earlier one.
    pub(super) fn shorten_tail(&mut self) {
        let mut json_len = 0;
        let fitting = self.tail.iter().rev().take_while(|token| {
            json_len += token.max_json_len();
            json_len <= MAX_PIECE_JSON_BYTES
        });
        let kept = self.tail.split_off(self.tail.len() - fitting.count());
        mem::replace(&mut self.tail, kept).into_iter().for_each(|token| self.tell_textless(token));
    }

    /// Returns the delta in pieces that each fit into one event, with their tokens.
    pub fn said(&self) -> impl Iterator<Item = (Said<'_>, &[ShownToken])> {
        let pieces = self.pieces().map(|(text, tokens)| (Said::Content(text), tokens));
        self.parts.iter().flat_map(Part::pieces).chain(pieces)
    }

    /// Returns the [`pieces_of`] text and tokens that are not parsed.
    pub fn pieces(&self) -> impl Iterator<Item = (&str, &[ShownToken])> {
        pieces_of(&self.text, &self.tokens, 1)
    }
}

/// Cuts text and tokens into pieces that each fit into one event and have exactly the tokens of
/// their text, and maybe some without. Where the text of one token does not fit, its last piece has
/// the token. An event has the text this many `times`.
pub(super) fn pieces_of<'a>(
    whole: &'a str,
    tokens: &'a [ShownToken],
    times: usize,
) -> impl Iterator<Item = (&'a str, &'a [ShownToken])> {
    let (mut text_start, mut rest) = (0, tokens);
    std::iter::from_fn(move || {
        let (text_end, num_tokens) = match rest {
            [] => (piece_end(whole, text_start, times), 0),
            tokens => piece_of(tokens, text_start, times),
        };
        let fits = text_end - text_start <= MAX_PIECE_BYTES / times;
        let (text_end, num_tokens) =
            if fits { (text_end, num_tokens) } else { (piece_end(whole, text_start, times), 0) };
        let text = &whole[text_start..text_end];
        let (tokens, others) = rest.split_at(num_tokens);
        (text_start, rest) = (text_end, others);
        (!(text.is_empty() && tokens.is_empty())).then_some((text, tokens))
    })
}

/// Returns vLLM's `token_ids`: the generated tokens, in every chunk that has tokens.
#[must_use]
pub fn token_ids(tokens: &[ShownToken], details: &Details) -> Option<Vec<u32>> {
    let generated = tokens.iter().filter(|token| !token.is_prompt).map(|token| token.id);
    details.token_ids.then(|| generated.collect())
}

fn piece_end(text: &str, start: usize, times: usize) -> usize {
    let longest = text.len().min(start + MAX_PIECE_BYTES / times);
    (start..=longest).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(start)
}

/// Returns a piece's end and number of tokens: as many as fit, at least those of one complete text.
fn piece_of(tokens: &[ShownToken], text_start: usize, times: usize) -> (usize, usize) {
    // The usual case need not be measured.
    if let [token] = tokens {
        return (token.text_end, 1);
    }
    let (mut json_len, mut piece) = (0, (0, 0));
    for (index, token) in tokens.iter().enumerate() {
        json_len += token.max_json_len();
        let is_complete =
            tokens.get(index + 1).is_none_or(|next| next.is_textless || next.text_end > token.text_end);
        if !is_complete {
            continue;
        }
        if piece.1 > 0 && json_len + 6 * times * (token.text_end - text_start) > MAX_PIECE_JSON_BYTES {
            break;
        }
        piece = (token.text_end, index + 1);
    }
    piece
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::text::Tokenizer;

    fn texts(text: &str) -> Vec<String> {
        let delta = Delta { text: text.to_owned(), ..Delta::default() };
        delta.pieces().map(|(text, _)| text.to_owned()).collect()
    }

    /// A piece that is cut inside a character is not text; one that is too long breaks clients with
    /// 64 KiB line buffers.
    #[test]
    fn pieces_are_short_and_whole() {
        let text = "€".repeat(MAX_PIECE_BYTES);
        let pieces = texts(&text);
        assert!(pieces.iter().all(|piece| (1..=MAX_PIECE_BYTES).contains(&piece.len())));
        assert_eq!(pieces.concat(), text);
        assert_eq!(texts("").len(), 0);
    }

    /// A token reported with another token's text misleads clients that align the two.
    #[test]
    fn pieces_have_the_tokens_of_their_text() {
        let folder =
            concat!(env!("CARGO_MANIFEST_DIR"), "/../../python/streamcore/demo_model/tokenizer.json");
        let tokenizer = Tokenizer::load(Path::new(folder)).expect("the demo model is part of the repository");
        let token = |id: u32| {
            let names = tokenizer.detokenizer(false).names().clone();
            let logprobs = Scored { id, logprob: Some(-1.0), top: vec![(id, -1.0); 60], names };
            // Two tokens for each of the characters.
            let text_end = 3 * (1 + id as usize / 2);
            ShownToken { id, text_end, logprobs: Some(logprobs), ..ShownToken::default() }
        };
        let delta =
            Delta { text: "€".repeat(20), tokens: (0..40).map(token).collect(), ..Delta::default() };
        let pieces: Vec<_> = delta.pieces().collect();
        assert!(pieces.len() > 4, "so much does not fit into one event");
        for (text, tokens) in &pieces {
            assert_eq!(tokens.len(), 2 * text.chars().count());
            assert!(tokens.iter().map(ShownToken::max_json_len).sum::<usize>() < MAX_PIECE_JSON_BYTES);
        }
        assert_eq!(pieces.iter().flat_map(|(_, tokens)| *tokens).count(), 40);
    }
}
