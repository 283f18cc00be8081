//! A family of models: its formats, and the tokens that its tokenizer has for their markers.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, OnceLock};

use streamcore_engine::EngineConfig;
use streamcore_parsers::{Detected, ReasoningFormat, ToolFormat};
use streamcore_server::text::TextModel;

use crate::common::model::marked_model;
use crate::common::{NEXT_CHOICE, Stage};

/// Letters of one token, more or less: short enough to cut words, long enough to be like a token.
const PIECE_LETTERS: usize = 4;

/// Cuts a marker in a script into letters, and is nothing itself.
const CUT: char = '\u{1f}';

#[derive(Debug)]
pub(crate) struct Family {
    pub(crate) name: &'static str,
    pub(crate) tools: Option<ToolFormat>,
    pub(crate) reasoning: Option<ReasoningFormat>,
    /// Tokens of their own, and whether these are hidden.
    pub(crate) markers: &'static [(&'static str, bool)],
}

type Models = Mutex<HashMap<(&'static str, &'static str), (TextModel, Vec<Vec<u32>>)>>;

impl Family {
    /// Returns the tokens of an answer: markers, bytes of what is not ASCII, and short pieces of
    /// all else.
    pub(crate) fn pieces(&self, mut script: &'static str) -> Vec<Option<&'static str>> {
        let mut pieces = Vec::new();
        while !script.is_empty() {
            let starts = |text: &str| script.starts_with(text);
            let marker = self.markers.iter().map(|(marker, _)| *marker).find(|marker| starts(marker));
            let is_piece = |letter: char| letter.is_ascii() && letter != CUT && !"<[".contains(letter);
            let letters = script.chars().skip(1).take_while(|letter| is_piece(*letter));
            let len = match (marker, script.as_bytes()[0]) {
                (Some(marker), _) => marker.len(),
                (None, first) if char::from(first) == CUT => {
                    script = &script[1..];
                    continue;
                }
                (None, first) if first.is_ascii() => 1 + letters.take(PIECE_LETTERS - 1).count(),
                (None, _) => {
                    let letter = script.chars().next().map_or(1, char::len_utf8);
                    pieces.extend(std::iter::repeat_n(None, letter - 1));
                    letter
                }
            };
            let (piece, rest) = script.split_at(len);
            pieces.push(Some(piece));
            script = rest;
        }
        pieces
    }

    /// Returns a stage on which such a model says this.
    pub(crate) fn stage(&self, script: &'static str, config: EngineConfig) -> Stage {
        static MODELS: OnceLock<Models> = OnceLock::new();
        let mut models = MODELS.get_or_init(Models::default).lock().unwrap();
        let (text, scripts) = models.entry((self.name, script)).or_insert_with(|| self.model(script));
        let parsers = Detected { tools: self.tools, reasoning: self.reasoning };
        let config = EngineConfig { max_model_len: 192, ..config };
        Stage::with_parsers(text, config, parsers, scripts)
    }

    fn model(&self, script: &'static str) -> (TextModel, Vec<Vec<u32>>) {
        let choices: Vec<_> = script.split(NEXT_CHOICE).map(|script| self.pieces(script)).collect();
        let is_plain =
            |piece: &&str| piece.is_ascii() && self.markers.iter().all(|(marker, _)| marker != piece);
        let plain: BTreeSet<_> = choices.iter().flatten().copied().flatten().filter(is_plain).collect();
        let plain: Vec<_> = plain.into_iter().filter(|piece| piece.len() > 1).collect();
        let (text, ids) = marked_model(self.name, self.markers, &plain);
        let ids_of = |piece: &str| match ids.get(piece) {
            Some(id) => vec![*id],
            None => piece.bytes().map(u32::from).collect(),
        };
        let tokens =
            choices.iter().map(|pieces| pieces.iter().flatten().flat_map(|piece| ids_of(piece)).collect());
        (text, tokens.collect())
    }
}
