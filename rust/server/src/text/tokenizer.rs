//! Text to token ids, and back.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use tokenizers::AddedToken;

use super::literals::Markers;
use super::token_table::{TokenKind, TokenTable};
use super::{Detokenizer, Pieces, Seams, TextError};

/// A model's tokenizer; cloning shares it.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    encoder: Arc<tokenizers::Tokenizer>,
    table: Arc<TokenTable>,
    markers: Arc<Markers>,
    seams: Seams,
    /// Numbers of special tokens before and behind a text; `None` if they cannot be determined.
    affixes: Option<(usize, usize)>,
}

impl Tokenizer {
    /// Reads a `tokenizer.json`.
    ///
    /// # Errors
    /// The file cannot be read, is no JSON, describes no tokenizer, or has a decoder that cannot be
    /// applied token by token.
    pub fn load(path: &Path) -> Result<Self, TextError> {
        Self::load_with(path, Vec::new())
    }

    /// Reads a `tokenizer.json` and adds tokens that it may lack, with the next ids.
    pub(super) fn load_with(path: &Path, added: Vec<AddedToken>) -> Result<Self, TextError> {
        let bytes =
            std::fs::read(path).map_err(|source| TextError::Read { path: path.to_owned(), source })?;
        let mut encoder = tokenizers::Tokenizer::from_bytes(&bytes).map_err(|error| {
            // Valid JSON is checked only now: the files are big and nearly always right.
            match serde_json::from_slice::<serde::de::IgnoredAny>(&bytes) {
                Err(source) => TextError::Json { path: path.to_owned(), source },
                Ok(_) => TextError::Tokenizer { path: path.to_owned(), message: error.to_string() },
            }
        })?;
        encoder
            .add_tokens(added)
            .map_err(|error| TextError::Tokenizer { path: path.to_owned(), message: error.to_string() })?;
        Self::new(encoder).map_err(|decoder| TextError::Decoder { path: path.to_owned(), decoder })
    }

    fn new(mut encoder: tokenizers::Tokenizer) -> Result<Self, String> {
        // The library would fan out on a thread pool of its own, under the feet of the runtime's
        // workers.
        tokenizers::utils::parallelism::set_parallelism(false);
        // Files saved after training may cut or pad; a prompt that is too long must be refused, not
        // cut.
        encoder.with_padding(None);
        encoder.with_truncation(None).map_err(|error| error.to_string())?;
        let (table, markers) = (TokenTable::new(&encoder)?, Markers::new(&encoder)?);
        let (seams, affixes) = (Seams::new(&encoder, &table), affixes(&encoder));
        let (encoder, table, markers) = (Arc::new(encoder), Arc::new(table), Arc::new(markers));
        Ok(Self { encoder, table, markers, seams, affixes })
    }

    /// Returns how texts that are encoded with or without special tokens can be cut.
    #[must_use]
    pub fn in_pieces(&self, add_special_tokens: bool) -> Pieces {
        match (add_special_tokens, self.affixes) {
            (false, _) => Pieces { seams: self.seams, affixes: (0, 0) },
            (true, Some(affixes)) => Pieces { seams: self.seams, affixes },
            (true, None) => Pieces::WHOLE,
        }
    }

    /// Returns the token ids of `text`.
    ///
    /// `add_special_tokens` adds the model's tokens around a text, such as a begin token; the text
    /// of a chat template has them already.
    ///
    /// # Errors
    /// [`TextError::Encode`] if the tokenizer has no token for part of the text.
    pub fn encode(&self, text: &str, add_special_tokens: bool) -> Result<Vec<u32>, TextError> {
        let encoding = self
            .encoder
            .encode_fast(text, add_special_tokens)
            .map_err(|error| TextError::Encode(error.to_string()))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Returns the same token ids, each with the bytes of `text` that it was made of: before
    /// anything was normalised, so that they can be cut out. Tokens that share a character have it
    /// both; one that stands for nothing in the text, such as a begin token, has an empty range.
    ///
    /// # Errors
    /// Those of [`Tokenizer::encode`].
    pub fn encode_with_ranges(
        &self,
        text: &str,
        add_special_tokens: bool,
    ) -> Result<Vec<(u32, Range<usize>)>, TextError> {
        let encoding = self
            .encoder
            .encode(text, add_special_tokens)
            .map_err(|error| TextError::Encode(error.to_string()))?;
        let ranges = encoding.get_offsets().iter().map(|(start, end)| *start..*end);
        Ok(encoding.get_ids().iter().copied().zip(ranges).collect())
    }

    /// Returns the text of `ids`, the same as a [`Detokenizer`] gives piece by piece.
    ///
    /// # Errors
    /// [`TextError::TokenId`] if an id is outside the vocabulary.
    pub fn decode(&self, ids: &[u32], skip_special_tokens: bool) -> Result<String, TextError> {
        let mut text = String::with_capacity(4 * ids.len());
        let mut detokenizer = Detokenizer::new(Arc::clone(&self.table), skip_special_tokens);
        for &id in ids {
            if id as usize >= self.vocab_size() {
                return Err(TextError::TokenId { id, vocab_size: self.vocab_size() });
            }
            detokenizer.push(id, &mut text);
        }
        detokenizer.finish(&mut text);
        Ok(text)
    }

    /// Adds a token of these bytes, which need not be whole characters, and returns its id. No text
    /// is ever encoded to it. Detokenizers that were made before do not know it.
    pub fn add_piece(&mut self, bytes: &[u8]) -> u32 {
        Arc::make_mut(&mut self.table).push(bytes)
    }

    /// Returns the highest token id plus one, added tokens included.
    #[must_use]
    pub fn vocab_size(&self) -> usize {
        self.table.len()
    }

    /// Returns the id of a token by its exact content.
    #[must_use]
    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.encoder.token_to_id(token)
    }

    /// Returns the id of an added token by its exact content: no text of the vocabulary, however it
    /// is spelled, but one that stands for itself.
    #[must_use]
    pub fn added_token_id(&self, token: &str) -> Option<u32> {
        self.token_id(token).filter(|id| self.table.token(*id).0 != TokenKind::Text)
    }

    /// Returns a detokenizer for one output.
    #[must_use]
    pub fn detokenizer(&self, skip_special_tokens: bool) -> Detokenizer {
        Detokenizer::new(Arc::clone(&self.table), skip_special_tokens)
    }

    pub(super) fn encoder(&self) -> &tokenizers::Tokenizer {
        &self.encoder
    }

    pub(super) fn table(&self) -> &TokenTable {
        &self.table
    }

    pub(super) fn markers(&self) -> &Markers {
        &self.markers
    }
}

/// Returns how many special tokens stand before a text and behind it.
fn affixes(encoder: &tokenizers::Tokenizer) -> Option<(usize, usize)> {
    const TEXT: &str = "a b";
    let encode =
        |special| encoder.encode_fast(TEXT, special).ok().map(|encoding| encoding.get_ids().to_vec());
    let (bare, whole) = (encode(false)?, encode(true)?);
    let num_before = whole.windows(bare.len().max(1)).position(|window| window == bare)?;
    Some((num_before, whole.len() - num_before - bare.len()))
}
