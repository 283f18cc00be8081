//! The text of a choice and its tokens against the plainest possible model: everything is known at
//! once, nothing is streamed.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::OnceLock;

use common::model::extended_tokenizer;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use streamcore_engine::TokenLogprobs;
use streamcore_server::driver::Token;
use streamcore_server::openai::finish::{Finish, FinishReason, StopReason};
use streamcore_server::openai::options::Stops;
use streamcore_server::stream::{Delta, Output};
use streamcore_server::text::Tokenizer;

/// Tokens of several bytes, some of which are parts of characters: `é` is c3 a9, `€` is e2 82 ac.
const PIECES: [&[u8]; 9] =
    [b"a#", b"ab", b"##", b"b", "é".as_bytes(), b"a\xc3", b"\xa9", b"\xe2\x82", b"\xac#"];
/// Ends an answer.
const END: u32 = common::model::END_TOKEN;

fn tokenizer() -> &'static Tokenizer {
    static TOKENIZER: OnceLock<Tokenizer> = OnceLock::new();
    TOKENIZER.get_or_init(|| extended_tokenizer(&PIECES))
}

/// The ids of the pieces follow those of the bytes and the end token.
fn id_of(piece: usize) -> u32 {
    END + 1 + piece as u32
}

#[derive(Debug, Clone)]
struct Case {
    tokens: Vec<usize>,
    stops: Stops,
    stops_at_token: bool,
    tells_tokens: bool,
}

/// The final output for a client.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    text: String,
    tokens: Vec<u32>,
    stop_reason: Option<String>,
}

/// Text of bytes so far: all but an unfinished character.
fn text_of(bytes: &[u8]) -> String {
    let mut end = bytes.len();
    for start in bytes.len().saturating_sub(3)..bytes.len() {
        let unfinished = std::str::from_utf8(&bytes[start..]);
        if unfinished.is_err_and(|error| error.valid_up_to() == 0 && error.error_len().is_none()) {
            end = start;
            break;
        }
    }
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

impl Case {
    /// Returns the text behind each token, and at last that of all bytes.
    fn texts(&self) -> Vec<String> {
        let mut bytes = Vec::new();
        let mut texts: Vec<_> = self
            .tokens
            .iter()
            .map(|piece| {
                bytes.extend_from_slice(PIECES[*piece]);
                text_of(&bytes)
            })
            .collect();
        texts.push(String::from_utf8_lossy(&bytes).into_owned());
        texts
    }

    /// Returns where the first stop string that counts begins and ends, which it is, and how many
    /// tokens there are by then.
    fn first_match(&self) -> Option<(usize, usize, usize, usize)> {
        let texts = self.texts();
        let whole = texts.last().unwrap();
        for end in (1..=whole.len()).filter(|end| whole.is_char_boundary(*end)) {
            let mut num_tokens = texts.iter().position(|text| text.len() >= end).unwrap() + 1;
            if num_tokens > self.tokens.len() {
                num_tokens = self.tokens.len() + usize::from(self.stops_at_token);
            }
            if num_tokens <= self.stops.min_tokens {
                continue;
            }
            if let Some(index) = self.stops.texts.iter().position(|stop| whole[..end].ends_with(stop)) {
                return Some((end - self.stops.texts[index].len(), end, index, num_tokens));
            }
        }
        None
    }

    /// Returns whether the tokens up to each end with a whole character.
    fn ends_whole(&self) -> Vec<bool> {
        let bytes_to =
            |last: usize| self.tokens[..=last].iter().flat_map(|piece| PIECES[*piece]).copied().collect();
        let is_whole = |bytes: Vec<u8>| text_of(&bytes) == String::from_utf8_lossy(&bytes);
        (0..self.tokens.len()).map(|last| is_whole(bytes_to(last))).collect()
    }

    /// Returns where the text begins that each token is part of: behind the last token that ended
    /// with a whole character.
    fn starts(&self) -> Vec<usize> {
        let (texts, ends_whole) = (self.texts(), self.ends_whole());
        let start_of =
            |index| (0..index).rev().find(|last| ends_whole[*last]).map_or(0, |last| texts[last].len());
        (0..self.tokens.len()).map(start_of).collect()
    }

    fn expected(&self) -> Seen {
        let texts = self.texts();
        let whole = texts.last().unwrap();
        let (cut, num_tokens, stop_reason) = match self.first_match() {
            Some((start, end, index, num_tokens)) => {
                let cut = if self.stops.are_part_of_output { end } else { start };
                (cut, num_tokens, Some(self.stops.texts[index].clone()))
            }
            None => (whole.len(), self.tokens.len(), None),
        };
        let is_shown = |start: usize| start < cut || (stop_reason.is_none() && start >= whole.len());
        let shown =
            self.tokens.iter().zip(self.starts()).take(num_tokens).filter(|(_, start)| is_shown(*start));
        let mut tokens: Vec<_> = shown.map(|(piece, _)| id_of(*piece)).collect();
        if self.stops_at_token && stop_reason.is_none() {
            tokens.push(END);
        }
        if !self.tells_tokens {
            tokens.clear();
        }
        Seen { text: whole[..cut].to_owned(), tokens, stop_reason }
    }

    /// Streams the tokens, this many at a time, and checks each delta by itself.
    fn stream(&self, batch_len: usize) -> Seen {
        let mut output = Output::new(tokenizer().detokenizer(true), self.stops.clone(), self.tells_tokens);
        let mut seen = Seen::default();
        for batch in self.tokens.chunks(batch_len) {
            let mut delta = Delta::default();
            let finish = batch.iter().find_map(|piece| output.push(token(*piece), &mut delta));
            seen.take(&delta, finish.is_none());
            if let Some(finish) = finish {
                return seen.finish(&finish);
            }
        }
        let mut delta = Delta::default();
        let finish = if self.stops_at_token {
            output.stop_at(Token { id: END, logprobs: None }, &mut delta)
        } else {
            output.end(Finish { finish_reason: FinishReason::Length, stop_reason: None }, &mut delta)
        };
        seen.take(&delta, false);
        seen.finish(&finish)
    }
}

fn token(piece: usize) -> Token {
    let logprobs = TokenLogprobs { logprob: -1.0, top: vec![(id_of(0), -0.5)] };
    Token { id: id_of(piece), logprobs: Some(Box::new(logprobs)) }
}

impl Seen {
    fn take(&mut self, delta: &Delta, is_exact: bool) {
        let told: Vec<_> = delta.tokens.iter().flat_map(|token| &token.logprobs).collect();
        let generated = delta.tokens.iter().filter(|token| token.id != END);
        assert_eq!(told.len(), generated.count(), "ids and log-probabilities go together");
        assert!(!delta.text.is_empty() || delta.tokens.is_empty(), "tokens without text");
        if is_exact && !told.is_empty() && !delta.text.contains('\u{fffd}') {
            let bytes = told.iter().flat_map(|scored| scored.names.bytes(scored.id).unwrap().into_owned());
            let bytes: Vec<u8> = bytes.collect();
            assert_eq!(bytes, delta.text.as_bytes(), "the tokens are those of the text");
        }
        let pieces: Vec<_> = delta.pieces().collect();
        assert_eq!(pieces.iter().map(|(text, _)| *text).collect::<String>(), delta.text);
        assert!(
            pieces
                .iter()
                .all(|(text, tokens)| !text.is_empty() && tokens.is_empty() == delta.tokens.is_empty())
        );
        self.text.push_str(&delta.text);
        self.tokens.extend(delta.tokens.iter().chain(&delta.tail).map(|token| token.id));
    }

    fn finish(mut self, finish: &Finish) -> Self {
        self.stop_reason = match &finish.stop_reason {
            Some(StopReason::Text(text)) => Some(text.clone()),
            _ => None,
        };
        self
    }
}

fn cases() -> impl Strategy<Value = Case> {
    let stops = (prop::collection::vec("[ab#é€]{1,4}", 0..4), 0_usize..6, any::<bool>()).prop_map(
        |(texts, min_tokens, are_part_of_output)| Stops {
            texts,
            min_tokens,
            are_part_of_output,
            ..Stops::default()
        },
    );
    let tokens = prop::collection::vec(0..PIECES.len(), 0..16);
    (tokens, stops, any::<bool>(), any::<bool>()).prop_map(|(tokens, stops, stops_at_token, tells_tokens)| {
        Case { tokens, stops, stops_at_token, tells_tokens }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { rng_seed: RngSeed::Fixed(1), failure_persistence: None, cases: 4000, ..Default::default() })]

    /// A token behind a stop string would leak, text would come without its tokens, or an answer
    /// would end too early or too late.
    #[test]
    fn text_and_tokens_are_those_of_the_whole(case in cases(), batch_len in 1_usize..6) {
        prop_assert_eq!(case.stream(batch_len), case.expected());
    }

    /// The stream would lag behind the model by more than what may yet become a stop string.
    #[test]
    fn nothing_is_held_back_without_need(case in cases()) {
        let mut output = Output::new(tokenizer().detokenizer(true), case.stops.clone(), case.tells_tokens);
        let (mut shown, texts, starts, ends_whole) = (0, case.texts(), case.starts(), case.ends_whole());
        for (index, piece) in case.tokens.iter().enumerate() {
            let mut delta = Delta::default();
            if output.push(token(*piece), &mut delta).is_some() {
                break;
            }
            shown += delta.text.len();
            let text = &texts[index];
            let is_prefix = |start: &usize| {
                let suffix = &text[*start..];
                case.stops.texts.iter().any(|stop| stop.starts_with(suffix) && stop != suffix)
            };
            let boundaries = (0..=text.len()).filter(|start| text.is_char_boundary(*start));
            let held = if case.stops.are_part_of_output { None } else { boundaries.clone().find(is_prefix) };
            let certain = held.unwrap_or(text.len());
            let ends_of_tokens = starts[..=index].iter().copied().chain(ends_whole[index].then_some(text.len()));
            let whole_tokens = ends_of_tokens.filter(|end| *end <= certain).max().unwrap();
            let expected = if case.tells_tokens { whole_tokens } else { certain };
            prop_assert_eq!(shown, expected, "{:?}", text);
        }
    }
}

/// A client that lines tokens up with the text by their offsets must find them there, also behind
/// an echoed prompt.
#[test]
fn offsets_count_characters() {
    let mut output = Output::new(tokenizer().detokenizer(true), Stops::default(), true);
    output.begin_behind(10);
    let mut delta = Delta::default();
    // "é", then the first two bytes of "€", its last byte with "#", then "b".
    for piece in [4, 7, 8, 3] {
        assert_eq!(output.push(token(piece), &mut delta), None);
    }
    assert_eq!(delta.text, "é€#b");
    assert_eq!(delta.tokens.iter().map(|token| token.offset).collect::<Vec<_>>(), [10, 11, 11, 13]);
    let scored = delta.tokens.iter().map(|token| token.logprobs.as_ref().unwrap());
    let names: Vec<_> = scored.map(|scored| scored.names.name(scored.id)).collect();
    assert_eq!(names, ["é", "bytes:\\xe2\\x82", "bytes:\\xac\\x23", "b"]);
}

/// A stop token's text is what a parser behind `include_stop_str_in_output` looks for; without it,
/// it must not show.
#[test]
fn the_stop_token_is_told_and_shown_only_if_asked_for() {
    for (are_part_of_output, text) in [(false, ""), (true, "<end>")] {
        let stops = Stops { token_ids: vec![END], are_part_of_output, ..Stops::default() };
        let mut output = Output::new(tokenizer().detokenizer(false), stops, true);
        let mut delta = Delta::default();
        let logprobs = TokenLogprobs { logprob: -1.0, top: vec![(END, -1.0)] };
        let finish = output.stop_at(Token { id: END, logprobs: Some(Box::new(logprobs)) }, &mut delta);
        assert_eq!(finish.stop_reason, Some(StopReason::Token(END)));
        assert_eq!((&*delta.text, output.num_tokens()), (text, 1));
        let told: Vec<_> = delta.tokens.iter().chain(&delta.tail).map(|token| token.id).collect();
        assert_eq!(told, [END]);
        let mut tokens = delta.tokens.iter().chain(&delta.tail);
        assert_eq!(tokens.all(|token| token.logprobs.is_some()), are_part_of_output);
    }
}
