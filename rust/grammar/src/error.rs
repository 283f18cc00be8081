//! The errors of this crate.

/// Why a grammar cannot be used: the client's fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GrammarError {
    /// A keyword whose meaning cannot be enforced exactly.
    #[error("`{keyword}` at `{path}` cannot be enforced: {reason}")]
    Unsupported {
        /// The keyword.
        keyword: String,
        /// Where it stands, as a JSON pointer; `/` alone is the whole schema.
        path: String,
        /// Why not, or what can be done instead.
        reason: String,
    },
    /// An invalid schema, regular expression or grammar.
    #[error("`{path}` is not valid: {reason}")]
    Invalid {
        /// Where it stands.
        path: String,
        /// The fault.
        reason: String,
    },
    /// A grammar beyond a limit.
    #[error("{what} is {value}, limit is {limit}")]
    TooLarge {
        /// The quantity that is limited.
        what: &'static str,
        /// Its value.
        value: u64,
        /// Its limit.
        limit: u64,
    },
    /// A grammar that cannot be compiled within its budget, or that has no answer at all.
    #[error("the grammar cannot be compiled: {0}")]
    Compile(String),
}

/// Why a sequence cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MatchError {
    /// The token is not one that the mask allowed: a bug of the caller.
    #[error("token {0} is not allowed here")]
    NotAllowed(u32),
    /// The next mask costs more than its budget, or no token can follow.
    #[error("the grammar cannot be followed: {0}")]
    Failed(String),
}

/// Why a vocabulary cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VocabularyError {
    /// More tokens than the model computes logits for.
    #[error("the tokenizer has {num_tokens} tokens, the model has logits for {vocab_size}")]
    TooManyTokens {
        /// Tokens given.
        num_tokens: usize,
        /// Rows of the model's output layer.
        vocab_size: usize,
    },
    /// An end-of-sequence id outside of the vocabulary.
    #[error("end-of-sequence id {id} is not below the vocabulary size {vocab_size}")]
    EndId {
        /// The id.
        id: u32,
        /// Rows of the model's output layer.
        vocab_size: usize,
    },
    /// The prefix tree of the tokens cannot be built.
    #[error("the vocabulary cannot be indexed: {0}")]
    Index(String),
}
