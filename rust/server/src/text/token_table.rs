//! The bytes of every token, computed once from the tokenizer's decoder.

use std::borrow::Cow;

use serde_json::Value;
use tokenizers::Tokenizer;

/// Ids beyond this are a broken file, not a vocabulary; the table is as long as the highest id.
const MAX_TOKEN_ID: u32 = 1 << 24;

/// The kinds of tokens for the reader of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenKind {
    /// A piece of text.
    Text,
    /// An added token: its content is literal text.
    Added,
    /// An added token that is no text for the reader, such as an end token.
    Special,
}

/// The text that the decoder strips at the start of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leading {
    /// Nothing.
    Keep,
    /// Up to `count` times `byte`, as SentencePiece models put one space before the text.
    Strip { byte: u8, count: usize },
    /// Every space of the first token.
    FirstTokenSpaces,
}

impl Leading {
    /// Returns the rest of a token's bytes, and the strip for the next token.
    pub(super) fn strip(self, kind: TokenKind, bytes: &[u8]) -> (Cow<'_, [u8]>, Self) {
        match self {
            _ if bytes.is_empty() => (bytes.into(), self),
            Self::Keep => (bytes.into(), self),
            Self::Strip { byte, count } => {
                let num_stripped = bytes.iter().take(count).take_while(|first| **first == byte).count();
                let rest = &bytes[num_stripped..];
                let count = count - num_stripped;
                (rest.into(), if rest.is_empty() { Self::Strip { byte, count } } else { Self::Keep })
            }
            Self::FirstTokenSpaces if kind == TokenKind::Text => {
                let rest: Vec<u8> = bytes.iter().copied().filter(|byte| *byte != b' ').collect();
                (rest.into(), Self::Keep)
            }
            Self::FirstTokenSpaces => (bytes.into(), Self::Keep),
        }
    }
}

/// Token id to bytes: one flat buffer and its offsets.
#[derive(Debug, Clone)]
pub(super) struct TokenTable {
    bytes: Vec<u8>,
    offsets: Vec<u32>,
    kinds: Vec<TokenKind>,
    leading: Leading,
}

impl TokenTable {
    /// Applies the decoder to each token of the vocabulary.
    ///
    /// # Errors
    /// The step of the decoder that cannot be applied token by token, or another fault.
    pub(super) fn new(tokenizer: &Tokenizer) -> Result<Self, String> {
        let decoder = serde_json::to_value(tokenizer.get_decoder()).map_err(|error| error.to_string())?;
        let plan = DecoderPlan::new(&decoder)?;
        let added = tokenizer.get_added_tokens_decoder();
        let highest = tokenizer.get_vocab(false).into_values().chain(added.keys().copied()).max();
        let len = highest.map_or(0, |id| id as usize + 1);
        if len > MAX_TOKEN_ID as usize {
            return Err(format!("cannot hold token id {}, limit is {MAX_TOKEN_ID}: the vocabulary", len - 1));
        }
        let mut table = Self {
            bytes: Vec::with_capacity(8 * len),
            offsets: Vec::with_capacity(len + 1),
            kinds: Vec::with_capacity(len),
            leading: plan.leading,
        };
        for id in 0..len as u32 {
            table.offsets.push(table.bytes.len() as u32);
            let kind = added.get(&id).map_or(TokenKind::Text, |token| {
                if token.special { TokenKind::Special } else { TokenKind::Added }
            });
            table.kinds.push(kind);
            if let Some(piece) = tokenizer.id_to_token(id) {
                plan.decode(&piece, kind, &mut table.bytes);
            }
        }
        table.offsets.push(table.bytes.len() as u32);
        Ok(table)
    }

    /// Adds a token of these bytes behind all others; returns its id.
    pub(super) fn push(&mut self, bytes: &[u8]) -> u32 {
        let id = self.kinds.len() as u32;
        self.bytes.extend_from_slice(bytes);
        self.offsets.push(self.bytes.len() as u32);
        self.kinds.push(TokenKind::Text);
        id
    }

    /// Returns the highest id plus one.
    pub(super) fn len(&self) -> usize {
        self.kinds.len()
    }

    pub(super) fn leading(&self) -> Leading {
        self.leading
    }

    /// Returns the bytes of a token; none for an id without a token.
    pub(super) fn token(&self, id: u32) -> (TokenKind, &[u8]) {
        let id = id as usize;
        match self.kinds.get(id) {
            Some(kind) => (*kind, &self.bytes[self.offsets[id] as usize..self.offsets[id + 1] as usize]),
            None => (TokenKind::Text, &[]),
        }
    }
}

/// A decoder, reduced to steps for one token.
///
/// Real decoders are a sequence: replacements in a piece, then pieces to bytes, then the whole
/// joined, then spaces stripped at the start. Any other order or step is refused by name rather
/// than decoded wrongly.
struct DecoderPlan {
    replacements: Vec<(String, String)>,
    bytes: ByteStep,
    joined: bool,
    leading: Leading,
    byte_of: Vec<Option<u8>>,
}

/// The conversion of a piece to bytes.
#[derive(PartialEq)]
enum ByteStep {
    /// It is text.
    Text,
    /// Each character stands for a byte (GPT-2).
    ByteLevel,
    /// It is text, but `<0x0A>` stands for a byte (SentencePiece).
    ByteFallback,
}

impl DecoderPlan {
    fn new(decoder: &Value) -> Result<Self, String> {
        let mut plan = Self {
            replacements: Vec::new(),
            bytes: ByteStep::Text,
            joined: false,
            leading: Leading::Keep,
            byte_of: byte_level_alphabet(),
        };
        plan.add(decoder)?;
        Ok(plan)
    }

    /// Adds one step, or all steps of a sequence.
    fn add(&mut self, step: &Value) -> Result<(), String> {
        let name = step["type"].as_str().unwrap_or("null");
        let refuse = || Err(format!("step `{name}` ({step})"));
        let first = !self.joined && self.bytes == ByteStep::Text;
        match name {
            "Sequence" => {
                let steps = step["decoders"].as_array().map_or(&[][..], Vec::as_slice);
                steps.iter().try_for_each(|step| self.add(step))?;
            }
            "ByteLevel" if first && self.replacements.is_empty() => {
                self.bytes = ByteStep::ByteLevel;
                self.joined = true;
            }
            "ByteFallback" if first => self.bytes = ByteStep::ByteFallback,
            "Replace" if first => {
                let (Some(from), Some(to)) = (step["pattern"]["String"].as_str(), step["content"].as_str())
                else {
                    return refuse();
                };
                self.replacements.push((from.to_owned(), to.to_owned()));
            }
            "Metaspace" if first && self.replacements.is_empty() => {
                let Some(from) = step["replacement"].as_str() else { return refuse() };
                self.replacements.push((from.to_owned(), " ".to_owned()));
                if step["prepend_scheme"] != "never" {
                    self.leading = Leading::FirstTokenSpaces;
                }
            }
            "Fuse" => self.joined = true,
            "Strip" if self.joined && self.leading == Leading::Keep && step["stop"] == 0 => {
                let (Some(&[byte]), Some(count)) =
                    (step["content"].as_str().map(str::as_bytes), step["start"].as_u64())
                else {
                    return refuse();
                };
                self.leading = Leading::Strip { byte, count: count as usize };
            }
            _ => return refuse(),
        }
        Ok(())
    }

    /// Appends the bytes of one token.
    fn decode(&self, piece: &str, kind: TokenKind, out: &mut Vec<u8>) {
        if self.bytes == ByteStep::ByteLevel {
            let start = out.len();
            // An added token never went through the alphabet on its way in, so it is literal on its
            // way out.
            let mapped = kind == TokenKind::Text
                && piece.chars().all(|char| {
                    let byte = self.byte_of.get(char as usize).copied().flatten();
                    out.extend(byte);
                    byte.is_some()
                });
            if !mapped {
                out.truncate(start);
                out.extend_from_slice(piece.as_bytes());
            }
            return;
        }
        let mut text = Cow::Borrowed(piece);
        for (from, to) in &self.replacements {
            if text.contains(from.as_str()) {
                text = text.replace(from.as_str(), to).into();
            }
        }
        match fallback_byte(&text) {
            Some(byte) if self.bytes == ByteStep::ByteFallback => out.push(byte),
            _ => out.extend_from_slice(text.as_bytes()),
        }
    }
}

/// Returns the byte that a piece such as `<0x0A>` stands for.
fn fallback_byte(piece: &str) -> Option<u8> {
    let digits = piece.strip_prefix("<0x")?.strip_suffix('>')?;
    if digits.len() != 2 {
        return None;
    }
    u8::from_str_radix(digits, 16).ok()
}

/// Returns the alphabet of GPT-2: printable bytes stand for themselves, the rest for characters
/// from U+0100 on.
fn byte_level_alphabet() -> Vec<Option<u8>> {
    let mut byte_of = vec![None; 0x144];
    let mut next = 0x100;
    for byte in 0..=u8::MAX {
        let printable = matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
        let code = if printable {
            usize::from(byte)
        } else {
            next += 1;
            next - 1
        };
        byte_of[code] = Some(byte);
    }
    byte_of
}
