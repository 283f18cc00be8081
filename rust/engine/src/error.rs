//! The engine's errors.

use crate::request::{MAX_LOGPROBS, RequestId};
use crate::step::StepId;

/// An error of a call to the engine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// A limit is invalid.
    #[error("{0}")]
    Config(String),
    /// The prompt has no tokens.
    #[error("prompt has no tokens")]
    EmptyPrompt,
    /// The caller used an id twice: a bug of the caller.
    #[error("request id {} is in use already", .0.0)]
    DuplicateRequest(RequestId),
    /// Prompt and output together are longer than the context.
    #[error(
        "prompt has {prompt_len} tokens and {max_tokens} more are asked for, this model's maximum context length is {limit} tokens"
    )]
    ContextTooLong {
        /// Tokens in the prompt.
        prompt_len: usize,
        /// Tokens asked for.
        max_tokens: usize,
        /// `max_model_len`.
        limit: usize,
    },
    /// Prompt and output together do not fit into an empty block pool: for the client it is the
    /// same thing.
    #[error(
        "with `max_tokens` {max_tokens} the prompt is too long: this model's maximum context length is {capacity} tokens, \
         as many as the KV cache holds, the prompt has {prompt_len}"
    )]
    PoolTooSmall {
        /// Tokens in the prompt.
        prompt_len: usize,
        /// Tokens asked for.
        max_tokens: usize,
        /// Tokens in the whole pool.
        capacity: usize,
    },
    /// A list of the request is too long.
    #[error("`{field}` has {len} entries, limit is {limit}")]
    TooManyEntries {
        /// The list.
        field: &'static str,
        /// Its entries.
        len: usize,
        /// Maximum entries.
        limit: usize,
    },
    /// More log-probabilities are requested than the engine reports.
    #[error("`{field}` is {asked}, limit is {MAX_LOGPROBS}")]
    TooManyLogprobs {
        /// The number.
        field: &'static str,
        /// Its value.
        asked: u32,
    },
    /// A sampling parameter is out of a runner's range.
    #[error("`{field}` is {value}, it must be {range}")]
    OutOfRange {
        /// The number.
        field: &'static str,
        /// Its value.
        value: String,
        /// Its range.
        range: &'static str,
    },
    /// Steps are completed in the order in which they were planned.
    #[error("step {} was completed, expected {}", .given.0, step_or_none(*.expected))]
    WrongStep {
        /// The step that was named.
        given: StepId,
        /// The oldest step in flight.
        expected: Option<StepId>,
    },
    /// The columns of [`Scores`](crate::Scores) do not fit together.
    #[error(
        "{num_logprobs} log-probabilities were given with {num_top_ids} likely tokens and {num_top_logprobs} of theirs"
    )]
    ScoreShape {
        /// Rows.
        num_logprobs: usize,
        /// Likely tokens of all rows.
        num_top_ids: usize,
        /// Their log-probabilities.
        num_top_logprobs: usize,
    },
    /// The runner handed back the wrong number of log-probabilities.
    #[error("step {} has {expected} scored tokens, log-probabilities of {given} were given", .step.0)]
    WrongScoreCount {
        /// The step.
        step: StepId,
        /// Scored tokens in its plan.
        expected: usize,
        /// Log-probabilities handed back.
        given: usize,
    },
    /// The runner handed back the wrong number of tokens.
    #[error("step {} has {expected} samples, {given} tokens were given", .step.0)]
    WrongSampleCount {
        /// The step.
        step: StepId,
        /// Samples in its plan.
        expected: usize,
        /// Tokens handed back.
        given: usize,
    },
    /// A sample has no token, but a step that builds on it may be in flight.
    #[error("step {} has a sample without a token, which is only possible with one step in flight", .0.0)]
    NoToken(StepId),
    /// A token of a sample is negative, and neither [`NO_TOKEN`](crate::NO_TOKEN) nor
    /// [`NOT_FINITE`](crate::NOT_FINITE).
    #[error("step {} has a sample with token {token}, which is none", .step.0)]
    NegativeToken {
        /// The step.
        step: StepId,
        /// The token handed back.
        token: i32,
    },
}

fn step_or_none(step: Option<StepId>) -> String {
    step.map_or_else(|| "none".to_owned(), |StepId(step)| format!("step {step}"))
}
