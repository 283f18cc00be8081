//! The errors of a model's text files, and of a text.

use std::path::PathBuf;

/// Why a model's text files cannot be used, or one text cannot be tokenised.
#[derive(Debug, thiserror::Error)]
pub enum TextError {
    /// The file is missing or cannot be read.
    #[error("cannot read `{}`: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The file is not JSON: often a half-finished download.
    #[error("`{}` is not valid JSON: {source}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Where the JSON ends being valid.
        source: serde_json::Error,
    },
    /// The vocabulary is there in another form.
    #[error(
        "`{}` has no `tokenizer.json`, only {found}: write one with `AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)` of `transformers`",
        folder.display()
    )]
    NoTokenizer {
        /// The model folder.
        folder: PathBuf,
        /// The files that hold the vocabulary.
        found: String,
    },
    /// A field of the file has a value of the wrong kind.
    #[error("`{}`: `{field}` must be {expected}, found {found}", path.display())]
    Field {
        /// The file.
        path: PathBuf,
        /// The field's name.
        field: &'static str,
        /// The expected kind of value.
        expected: &'static str,
        /// The value found.
        found: String,
    },
    /// The file is JSON but does not describe a tokenizer.
    #[error("`{}` does not describe a tokenizer: {message}", path.display())]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// The tokenizer library's error.
        message: String,
    },
    /// The tokenizer's decoder cannot be applied token by token.
    #[error("`{}`: decoder {decoder} is not supported", path.display())]
    Decoder {
        /// The file.
        path: PathBuf,
        /// The step of the decoder, and why.
        decoder: String,
    },
    /// This text cannot be tokenised.
    #[error("text cannot be tokenised: {0}")]
    Encode(String),
    /// This text has too many tokens, and was not tokenised to its end.
    #[error("the first {num_bytes} bytes of the prompt have {num_tokens} tokens")]
    TooLong {
        /// Bytes of the beginning that was tokenised.
        num_bytes: usize,
        /// Its tokens.
        num_tokens: usize,
    },
    /// This text has more tokens than the limit of any text.
    #[error(
        "the text has more tokens than are made of one, limit is {limit}: its first {num_bytes} bytes have more"
    )]
    TooManyTokens {
        /// Bytes of the beginning that was tokenised.
        num_bytes: usize,
        /// Maximum tokens of a text.
        limit: usize,
    },
    /// This text, or a long part of it, has to be tokenised at once, which takes hundreds of times
    /// its memory.
    #[error("{num_bytes} bytes of the text have no end of a word among them, limit is {limit}")]
    Seamless {
        /// Bytes of that part.
        num_bytes: usize,
        /// Maximum bytes of such a part.
        limit: usize,
    },
    /// The client has left, so the rest was skipped.
    #[error("its client has left")]
    Unwanted,
    /// A token id is outside the vocabulary.
    #[error("token id {id} is not in the vocabulary, limit is {vocab_size}")]
    TokenId {
        /// The id.
        id: u32,
        /// Highest id of the vocabulary, plus one.
        vocab_size: usize,
    },
}

/// Why a conversation was not rendered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// The template refused the conversation with `raise_exception`: the client's fault.
    #[error("{0}")]
    Raised(String),
    /// The template failed by itself, as when it reads a field that the messages do not have.
    #[error("the chat template failed: {0}")]
    Failed(String),
}
