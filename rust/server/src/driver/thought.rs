//! The token budget of thoughts.

use std::collections::VecDeque;
use std::sync::Arc;

use streamcore_parsers::{Parser, Piece, Setup};

use crate::text::{Detokenizer, Tokenizer};

/// Maximum tokens of one character beyond its first.
const MAX_UNFINISHED: usize = 3;

/// Follows an answer token by token and closes a thought that has used its budget.
#[derive(Debug)]
pub struct Thought {
    parser: Parser,
    detokenizer: Detokenizer,
    /// Special tokens that the parser reads.
    markers: Vec<(u32, &'static str)>,
    budget: usize,
    num_tokens: usize,
    /// Token lists that close the thought: the first time, and after the model reopens it.
    endings: VecDeque<Vec<u32>>,
    text: String,
}

impl Thought {
    /// Starts behind `prompt`, for an answer in the formats of `setup` with `budget` tokens between
    /// the thought's markers.
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
        // Another parser reads the answer for the client.
        let mut said = Vec::new();
        if !letters.is_empty() {
            self.parser.push(Piece::Text(letters), &mut said);
        }
        if let Some(marker) = marker {
            self.parser.push(Piece::Special(marker), &mut said);
        }
        self.num_tokens += usize::from(was_inside && self.parser.is_inside_reasoning());
    }

    /// Returns the tokens that close the thought, if its budget is used. Never cuts a character: a
    /// grammar would not know what follows.
    pub(super) fn ending(&mut self) -> Option<Vec<u32>> {
        let num_late = if self.detokenizer.is_inside_character() { MAX_UNFINISHED } else { 0 };
        let is_spent = self.num_tokens >= self.budget + num_late && self.parser.is_inside_reasoning();
        if is_spent { self.endings.pop_front() } else { None }
    }
}
