//! What the engine tells about requests.

use crate::request::RequestId;

/// Why a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    /// The model drew one of the stop tokens. It counts as generated and gets no
    /// [`EventKind::Token`]; what is known of it is in [`EventKind::Finished`].
    Stop {
        /// The token that was drawn.
        token_id: u32,
    },
    /// `max_tokens` or the context is used up.
    Length,
    /// It was aborted.
    Abort,
    /// Its deadline has passed. What it has generated until then was told.
    Deadline,
    /// The model computed a logit that is NaN or infinite. Its blocks leave the prefix cache: what
    /// they hold may be NaN as well.
    NotFinite,
}

/// How likely the model found a token: natural logarithms of the softmax of its logits as they are,
/// before temperature, penalties and bias. Finite, and at least -9999.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenLogprobs {
    /// Of the token that was drawn or given.
    pub logprob: f32,
    /// The most likely tokens, as many as were asked for, best first.
    pub top: Vec<(u32, f32)>,
}

/// Something that happened to one request. The events of a request are: `Scheduled`,
/// `PromptLogprobs` if they were asked for, any number of `Token`, one `Finished`; an abort or a
/// deadline before the first step leaves only `Finished`.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// The request.
    pub request_id: RequestId,
    /// What happened.
    pub kind: EventKind,
}

/// The kinds of [`Event`].
#[derive(Debug, Clone, PartialEq)]
pub enum EventKind {
    /// It left the waiting queue for the first time.
    Scheduled {
        /// Tokens of its prompt that were in the KV cache already.
        num_cached_tokens: usize,
    },
    /// Log-probabilities of consecutive prompt tokens, from position 1 on. A long prompt has
    /// several of these; all come before the first `Token`.
    PromptLogprobs(Vec<TokenLogprobs>),
    /// One more token.
    Token {
        /// The token.
        token: u32,
        /// If they were asked for. Boxed, since most requests do not.
        logprobs: Option<Box<TokenLogprobs>>,
    },
    /// Nothing comes after this.
    Finished {
        /// Why.
        reason: FinishReason,
        /// Those of a stop token, if they were asked for.
        logprobs: Option<Box<TokenLogprobs>>,
    },
}
