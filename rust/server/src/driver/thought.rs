//! How long a thought may be.

use std::collections::VecDeque;
use std::sync::Arc;

use streamcore_parsers::{Parser, Piece, Setup};

use crate::text::{Detokenizer, Tokenizer};

/// Most tokens that a character can be spread over beyond its first.
const MAX_UNFINISHED: usize = 3;

/// Follows an answer token by token, and says when its thought has had its tokens.
#[derive(Debug)]
pub struct Thought {
    parser: Parser,
    detokenizer: Detokenizer,
    /// The special tokens that mean something to the parser.
    markers: Vec<(u32, &'static str)>,
    budget: usize,
    num_tokens: usize,
    /// What closes it, and what does so where the model has opened it again.
    endings: VecDeque<Vec<u32>>,
    text: String,
}

impl Thought {
    /// The thought of an answer in the formats of `setup` behind this prompt, which may have
    /// `budget` tokens between its markers.
    #[must_use]
    pub fn new(
        setup: Setup,
        tokenizer: &Tokenizer,
        prompt: &[u32],
        budget: usize,
        endings: &[Vec<u32>],
    ) -> Self {
        let parser = Parser::new(setup, |text| tokenizer.added_token_id(text).is_some());
        let marker = |text: &&'static str| Some((tokenizer.added_token_id(text)?, *text));
        let markers: Vec<_> = parser.special_tokens().iter().filter_map(marker).collect();
        let ids: Arc<[u32]> = markers.iter().map(|(id, _)| *id).collect();
        let detokenizer = tokenizer.detokenizer(true).with_markers(ids).behind(prompt);
        let endings = endings.iter().cloned().collect();
        Self { parser, detokenizer, markers, budget, num_tokens: 0, endings, text: String::new() }
    }

    /// Takes in the next token of the answer.
    pub(super) fn push(&mut self, token: u32) {
        let was_inside = self.parser.is_inside_reasoning();
        self.text.clear();
        self.detokenizer.push(token, &mut self.text);
        let marker = self.markers.iter().find_map(|(id, text)| (*id == token).then_some(*text));
        let letters = marker.and_then(|marker| self.text.strip_suffix(marker)).unwrap_or(&self.text);
        // What is said is the other reader's affair.
        let mut said = Vec::new();
        if !letters.is_empty() {
            self.parser.push(Piece::Text(letters), &mut said);
        }
        if let Some(marker) = marker {
            self.parser.push(Piece::Special(marker), &mut said);
        }
        self.num_tokens += usize::from(was_inside && self.parser.is_inside_reasoning());
    }

    /// The tokens that close the thought, if it has had its own. A character is not cut in two: a
    /// grammar would not know what follows.
    pub(super) fn ending(&mut self) -> Option<Vec<u32>> {
        let num_late = if self.detokenizer.is_inside_character() { MAX_UNFINISHED } else { 0 };
        let is_spent = self.num_tokens >= self.budget + num_late && self.parser.is_inside_reasoning();
        if is_spent { self.endings.pop_front() } else { None }
    }
}
