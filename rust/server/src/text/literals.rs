//! The text of special tokens in messages and tools is text.
//!
//! A chat template mixes its own markers with the words of users, and the tokenizer turns every
//! marker that it sees into the token. A user who writes an end-of-turn marker could then end the
//! turn and speak in another role. So:
//!
//! ```text
//! message  "a<|im_end|>b"   ──►  "a␣b"          ␣: a character for private use that no message has
//! template                  ──►  "…a␣b<|im_end|>…"
//! here                      ──►  "…a<|im_end|>b" as letters, the template's marker as the token
//! ```
//!
//! Only messages with such a text are treated so. As the template sees one unusual character for
//! each, it can trim, compare and join as always.

use std::collections::{HashMap, HashSet};
use std::mem;

use aho_corasick::{AhoCorasick, MatchKind};
use serde_json::Value;
use tokenizers::tokenizer::normalizer::Range;
use tokenizers::{
    Model, NormalizedString, Normalizer, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer,
    Token,
};

use super::{Conversation, TextError, Tokenizer};

/// Finds the texts of a tokenizer's markers.
#[derive(Debug)]
pub(super) struct Markers {
    finder: AhoCorasick,
}

impl Markers {
    /// Collects special tokens, and tokens that look like markers without being marked special.
    pub(super) fn new(encoder: &tokenizers::Tokenizer) -> Result<Self, String> {
        let added = encoder.get_added_tokens_decoder();
        let texts = added.values().filter(|token| token.special || is_bracketed(&token.content));
        let finder = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(texts.map(|token| &token.content).filter(|text| !text.is_empty()))
            .map_err(|error| error.to_string())?;
        Ok(Self { finder })
    }
}

/// Returns whether a text looks like `<|im_end|>`, which is only written to mean the token.
fn is_bracketed(text: &str) -> bool {
    [("<|", "|>"), ("<｜", "｜>")].iter().any(|(start, end)| text.starts_with(start) && text.ends_with(end))
}

/// The first character for private use without a glyph in any font.
const FIRST_PRIVATE: char = '\u{f0000}';

/// Markers found in messages, each with the character that replaces it.
#[derive(Debug, Default)]
pub(super) struct Literals {
    texts: HashMap<char, String>,
    stand_ins: HashMap<String, char>,
}

impl Literals {
    /// Replaces the texts of markers in all that users wrote, also in what they give the template.
    pub(super) fn take_out_of(conversation: &mut Conversation, tokenizer: &Tokenizer) -> Self {
        let finder = &tokenizer.markers().finder;
        let (mut literals, mut has_marker) = (Self::default(), false);
        each_text(conversation, &mut |text| has_marker = has_marker || finder.is_match(&*text));
        if !has_marker {
            return literals;
        }
        let mut unused = unused_characters(conversation);
        each_text(conversation, &mut |text| {
            if !finder.is_match(&*text) {
                return;
            }
            let mut replaced = String::with_capacity(text.len());
            finder.replace_all_with(text, &mut replaced, |_, marker, replaced| {
                replaced.push(literals.stand_in(marker, &mut unused));
                true
            });
            *text = replaced;
        });
        literals
    }

    /// Returns the unused character that replaces a marker; U+FFFD if a client has used up all of
    /// them.
    fn stand_in(&mut self, marker: &str, unused: &mut impl Iterator<Item = char>) -> char {
        if let Some(character) = self.stand_ins.get(marker) {
            return *character;
        }
        let Some(character) = unused.next() else { return char::REPLACEMENT_CHARACTER };
        self.stand_ins.insert(marker.to_owned(), character);
        self.texts.insert(character, marker.to_owned());
        character
    }

    /// Returns the token ids of a rendered conversation.
    pub(super) fn encode(&self, rendered: &str, tokenizer: &Tokenizer) -> Result<Vec<u32>, TextError> {
        if self.texts.is_empty() {
            return tokenizer.encode(rendered, false);
        }
        let encoder = tokenizer.encoder();
        let (text, tokens) = self.put_back(rendered, encoder);
        encode_with_tokens(text, &tokens, encoder).map_err(|error| TextError::Encode(error.to_string()))
    }

    /// Returns the whole text, and the positions of the template's own markers.
    fn put_back(&self, rendered: &str, encoder: &tokenizers::Tokenizer) -> (String, Vec<Placed>) {
        let splits = encoder.get_added_vocabulary().extract_and_normalize(encoder.get_normalizer(), rendered);
        let (mut text, mut placed, mut position) = (String::with_capacity(rendered.len()), Vec::new(), 0);
        for (_, (start, end), tokens) in splits.get_splits(OffsetReferential::Original, OffsetType::Byte) {
            let Some(token) = tokens.as_ref().and_then(|tokens| tokens.first()) else { continue };
            self.put_back_into(&rendered[position..start], &mut text);
            let text_start = text.len();
            text.push_str(&rendered[start..end]);
            placed.push(Placed { start: text_start, end: text.len(), id: token.id });
            position = end;
        }
        self.put_back_into(&rendered[position..], &mut text);
        (text, placed)
    }

    fn put_back_into(&self, rendered: &str, text: &mut String) {
        for character in rendered.chars() {
            let literal = if character < FIRST_PRIVATE { None } else { self.texts.get(&character) };
            match literal {
                Some(literal) => text.push_str(literal),
                None => text.push(character),
            }
        }
    }
}

/// A known token, and its bytes in the text.
#[derive(Debug)]
struct Placed {
    start: usize,
    end: usize,
    id: u32,
}

/// Tokenises a text with these markers only, instead of those that the tokenizer would find.
fn encode_with_tokens(
    text: String,
    tokens: &[Placed],
    encoder: &tokenizers::Tokenizer,
) -> tokenizers::Result<Vec<u32>> {
    let mut splits = PreTokenizedString::from(text);
    splits.split(|_, whole| Ok(cut(&whole, tokens)))?;
    if let Some(normalizer) = encoder.get_normalizer() {
        splits.normalize(|text| normalizer.normalize(text))?;
    }
    if let Some(pre_tokenizer) = encoder.get_pre_tokenizer() {
        pre_tokenizer.pre_tokenize(&mut splits)?;
    }
    splits.tokenize(|text| encoder.get_model().tokenize(text.get()))?;
    Ok(splits.into_encoding(None, 0, OffsetType::None)?.get_ids().to_vec())
}

fn cut(whole: &NormalizedString, tokens: &[Placed]) -> Vec<(NormalizedString, Option<Vec<Token>>)> {
    let slice = |start, end| whole.slice(Range::Normalized(start..end)).expect("both are ends of characters");
    let (mut pieces, mut position) = (Vec::with_capacity(2 * tokens.len() + 1), 0);
    for &Placed { start, end, id } in tokens {
        pieces.push((slice(position, start), None));
        let token = slice(start, end);
        let (value, len) = (token.get().to_owned(), token.get().len());
        pieces.push((token, Some(vec![Token::new(id, value, (0, len))])));
        position = end;
    }
    pieces.push((slice(position, whole.get().len()), None));
    pieces
}

/// Visits all texts that users wrote: those of messages, with roles and names of fields, of tools,
/// and of the template's variables.
fn each_text(conversation: &mut Conversation, visit: &mut dyn FnMut(&mut String)) {
    let Conversation { messages, tools, variables, end: _ } = conversation;
    let values = messages.iter_mut().chain(tools).chain(variables.values_mut());
    values.for_each(|value| each_text_of(value, visit));
}

fn each_text_of(value: &mut Value, visit: &mut dyn FnMut(&mut String)) {
    match value {
        Value::String(text) => visit(text),
        Value::Array(list) => list.iter_mut().for_each(|value| each_text_of(value, visit)),
        // A template may write the names, too.
        Value::Object(entries) => {
            for (mut name, mut value) in mem::take(entries) {
                visit(&mut name);
                each_text_of(&mut value, visit);
                entries.insert(name, value);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Characters for private use that users have not written.
pub(super) fn unused_characters(conversation: &mut Conversation) -> impl Iterator<Item = char> + use<> {
    let mut used = HashSet::new();
    each_text(conversation, &mut |text| {
        used.extend(text.chars().filter(|character| *character >= FIRST_PRIVATE));
    });
    (FIRST_PRIVATE..='\u{ffffd}').filter(move |character| !used.contains(character))
}
