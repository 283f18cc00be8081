//! What the engine tells about requests.

use crate::request::RequestId;

/// Why a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    /// The model drew one of the stop tokens. It counts as generated and gets no [`EventKind::Token`].
    Stop {
        /// The token that was drawn.
        token_id: u32,
    },
    /// `max_tokens` or the context is used up.
    Length,
    /// It was aborted.
    Abort,
}

/// Something that happened to one request. The events of a request are: `Scheduled`, any number of `Token`, one `Finished`;
/// an abort before the first step leaves only `Finished`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// The request.
    pub request_id: RequestId,
    /// What happened.
    pub kind: EventKind,
}

/// The kinds of [`Event`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// It left the waiting queue for the first time.
    Scheduled {
        /// Tokens of its prompt that were in the KV cache already.
        num_cached_tokens: usize,
    },
    /// One more token.
    Token(u32),
    /// Nothing comes after this.
    Finished(FinishReason),
}
