//! The events of requests.

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
    /// Its deadline has passed. Events reported the tokens until then.
    Deadline,
    /// The model computed a logit that is NaN or infinite. Its blocks leave the prefix cache: what
    /// they hold may be NaN as well.
    NotFinite,
}

/// The log-probabilities of a token: natural logarithms of the softmax of the raw logits, before
/// temperature, penalties and bias. Finite, and at least -9999.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenLogprobs {
    /// Log-probability of the token that was drawn or given.
    pub logprob: f32,
    /// The most likely tokens, as many as requested, best first.
    pub top: Vec<(u32, f32)>,
}

/// An event of one request, in this order: `Scheduled`, `PromptLogprobs` if requested, any number
/// of `Token`, one `Finished`; an abort or a deadline before the first step leaves only `Finished`.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// The request.
    pub request_id: RequestId,
    /// The kind of event.
    pub kind: EventKind,
}

/// The kinds of [`Event`].
#[derive(Debug, Clone, PartialEq)]
pub enum EventKind {
    /// The request left the waiting queue for the first time.
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
        /// The token's log-probabilities, if requested. Boxed, since most requests do not.
        logprobs: Option<Box<TokenLogprobs>>,
    },
    /// The request's last event.
    Finished {
        /// Why.
        reason: FinishReason,
        /// The stop token's log-probabilities, if requested.
        logprobs: Option<Box<TokenLogprobs>>,
    },
}
