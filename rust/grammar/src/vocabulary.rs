//! The tokens of a model, indexed for masks.

use std::sync::Arc;

use llguidance::ParserFactory;
use llguidance::toktrie::{
    ApproximateTokEnv, INVALID_TOKEN, InferenceCapabilities, TokEnv, TokRxInfo, TokTrie,
};
use rustc_hash::{FxHashMap, FxHashSet};

use crate::error::VocabularyError;
use crate::limits::parser_limits;

/// Maximum bytes of a token in the index. Longer ones are runs of one character in practice, which
/// other tokens spell.
const MAX_TOKEN_BYTES: usize = 1_000;

/// The content of a token id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Token<'a> {
    /// A piece of text, which may end within a character.
    Text(&'a [u8]),
    /// A marker that is no text: allowed only where a grammar names it.
    Special(&'a str),
    /// No token at all.
    Unused,
}

/// The tokens of a model, indexed for masks. Built once, shared by all grammars.
pub struct Vocabulary {
    factory: ParserFactory,
    vocab_size: usize,
    end_ids: Vec<u32>,
    /// A set bit is a token that exists.
    existing: Vec<u32>,
    /// Pairs of a token and the token of the same bytes that stands for it in the index.
    twins: FxHashMap<u32, u32>,
    special: FxHashSet<u32>,
}

impl std::fmt::Debug for Vocabulary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vocabulary")
            .field("vocab_size", &self.vocab_size)
            .field("end_ids", &self.end_ids)
            .finish_non_exhaustive()
    }
}

impl Vocabulary {
    /// Indexes the tokens, given in the order of their ids.
    ///
    /// `end_ids` are the tokens that end a sequence; they are special whatever the tokens say.
    /// `vocab_size` is the number of logits: ids from the number of tokens up to it are padding,
    /// which is never allowed.
    ///
    /// # Errors
    /// There are more tokens than logits, an end id is not among them, or the tokens are too many
    /// for the index.
    pub fn new<'a>(
        tokens: impl IntoIterator<Item = Token<'a>>,
        end_ids: &[u32],
        vocab_size: usize,
    ) -> Result<Self, VocabularyError> {
        if let Some(&id) = end_ids.iter().find(|id| **id as usize >= vocab_size) {
            return Err(VocabularyError::EndId { id, vocab_size });
        }
        let mut words = Words::default();
        for (id, token) in (0..).zip(tokens) {
            words.push(id, if end_ids.contains(&id) { as_special(token) } else { token });
        }
        let num_tokens = words.bytes.len();
        if num_tokens > vocab_size {
            return Err(VocabularyError::TooManyTokens { num_tokens, vocab_size });
        }
        words.bytes.resize(vocab_size, Vec::new());
        for &id in end_ids.iter().filter(|id| **id as usize >= num_tokens) {
            words.bytes[id as usize] = words.marker(id, "");
            words.special.insert(id);
        }

        let mut existing = vec![0; vocab_size.div_ceil(32)];
        let ids = (0..vocab_size as u32).filter(|id| !words.bytes[*id as usize].is_empty());
        for id in ids.chain(words.twins.keys().copied()) {
            existing[id as usize / 32] |= 1 << (id % 32);
        }
        let factory = index(&words.bytes, end_ids).map_err(VocabularyError::Index)?;
        let end_ids = end_ids.to_vec();
        Ok(Self { factory, vocab_size, end_ids, existing, twins: words.twins, special: words.special })
    }

    /// Returns the number of logits.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// Returns the length of a mask in 32-bit words.
    pub fn num_mask_words(&self) -> usize {
        self.vocab_size.div_ceil(32)
    }

    /// Returns the tokens that end a sequence.
    pub fn end_ids(&self) -> &[u32] {
        &self.end_ids
    }

    pub(crate) fn factory(&self) -> &ParserFactory {
        &self.factory
    }

    pub(crate) fn is_special(&self, id: u32) -> bool {
        self.special.contains(&id)
    }

    /// Returns the token that stands for `id` in the index.
    pub(crate) fn indexed(&self, id: u32) -> u32 {
        self.twins.get(&id).copied().unwrap_or(id)
    }

    /// Writes a mask of the index as a mask of the model.
    pub(crate) fn finish_mask(&self, indexed: &[u32], out: &mut [u32]) {
        for ((out, indexed), existing) in out.iter_mut().zip(indexed).zip(&self.existing) {
            *out = indexed & existing;
        }
        for (&twin, &indexed) in &self.twins {
            let allowed = out[indexed as usize / 32] >> (indexed % 32) & 1;
            out[twin as usize / 32] |= allowed << (twin % 32);
        }
        // A grammar at the end of the sequence accepts any of the ids.
        if self.end_ids.iter().any(|&id| out[id as usize / 32] >> (id % 32) & 1 == 1) {
            self.allow_end(out);
        }
    }

    /// Sets the bits of all end ids.
    pub(crate) fn allow_end(&self, out: &mut [u32]) {
        for &id in &self.end_ids {
            out[id as usize / 32] |= 1 << (id % 32);
        }
    }
}

/// Treats an end token given as text as a marker.
fn as_special(token: Token<'_>) -> Token<'_> {
    match token {
        Token::Text(bytes) => Token::Special(std::str::from_utf8(bytes).unwrap_or_default()),
        Token::Special(_) => token,
        Token::Unused => Token::Special(""),
    }
}

/// The bytes that each token has in the index.
#[derive(Default)]
struct Words {
    bytes: Vec<Vec<u8>>,
    first_with: FxHashMap<Vec<u8>, u32>,
    twins: FxHashMap<u32, u32>,
    special: FxHashSet<u32>,
}

impl Words {
    fn push(&mut self, id: u32, token: Token<'_>) {
        let bytes = match token {
            Token::Special(content) => {
                self.special.insert(id);
                self.marker(id, content)
            }
            // A byte that no UTF-8 text has marks special tokens in the index.
            Token::Text(bytes)
                if bytes.len() <= MAX_TOKEN_BYTES && !bytes.contains(&TokTrie::SPECIAL_TOKEN_MARKER) =>
            {
                bytes.to_vec()
            }
            Token::Text(_) | Token::Unused => Vec::new(),
        };
        // The index holds one token for the same bytes.
        let twin = self.first_with.get(&bytes).copied().filter(|_| !bytes.is_empty());
        if let Some(first) = twin {
            self.twins.insert(id, first);
            self.bytes.push(Vec::new());
            return;
        }
        self.first_with.insert(bytes.clone(), id);
        self.bytes.push(bytes);
    }

    /// Returns the bytes of a special token: its content where that is unique, else its id.
    fn marker(&self, id: u32, content: &str) -> Vec<u8> {
        let named = [&[TokTrie::SPECIAL_TOKEN_MARKER], content.as_bytes()].concat();
        let usable = (2..MAX_TOKEN_BYTES).contains(&named.len()) && !self.first_with.contains_key(&named);
        if usable { named } else { [&[TokTrie::SPECIAL_TOKEN_MARKER], format!("[{id}]").as_bytes()].concat() }
    }
}

/// Builds the prefix tree and the parts of it that masks of JSON strings are made of.
fn index(words: &[Vec<u8>], end_ids: &[u32]) -> Result<ParserFactory, String> {
    let first_end = end_ids.first().copied().unwrap_or(INVALID_TOKEN);
    let info = TokRxInfo::new(words.len() as u32, first_end);
    // The index asserts its own limits, such as the number of its nodes.
    let trie = std::panic::catch_unwind(|| TokTrie::from(&info, words))
        .map_err(|_| format!("{} tokens are too many bytes", words.len()))?;
    let trie = if end_ids.is_empty() { trie } else { trie.with_eos_tokens(end_ids) };
    // The model decides how a text is cut into tokens, so an approximate tokenizer forces none.
    let tokens: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
    let slices = llguidance::earley::SlicedBiasComputer::general_slices();
    let mut factory = ParserFactory::new(&tokens, InferenceCapabilities::default(), &slices)
        .map_err(|error| error.to_string())?;
    factory.quiet();
    *factory.limits_mut() = parser_limits();
    Ok(factory)
}
