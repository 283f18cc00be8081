//! A request to the engine, in tokens.

use std::time::Duration;

use crate::error::EngineError;
use crate::sampling::{MAX_LOGIT_BIAS, SamplingParams};

/// Identifies a request from its acceptance to its last event. Chosen by the caller, never used
/// twice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct RequestId(pub u64);

/// Maximum entries of [`Request::stop_token_ids`].
pub const MAX_STOP_TOKEN_IDS: usize = 256;
/// Maximum likely tokens that a request may ask for at one position.
pub const MAX_LOGPROBS: u32 = 20;

/// A request as the engine sees it: tokens in, tokens out.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Request {
    /// The request's id.
    pub id: RequestId,
    /// The prompt, at least one token.
    pub prompt: Vec<u32>,
    /// Maximum tokens to generate; with 0 only the prompt is computed, for its
    /// log-probabilities.
    pub max_tokens: usize,
    /// No stop token is drawn before this many tokens have been generated.
    pub min_tokens: usize,
    /// Tokens that end the output: the model's end-of-sequence tokens and those the client added;
    /// at most [`MAX_STOP_TOKEN_IDS`].
    pub stop_token_ids: Vec<u32>,
    /// How tokens are drawn.
    pub sampling: SamplingParams,
    /// Report the log-probability of each generated token, and of this many likely ones, at most
    /// [`MAX_LOGPROBS`].
    pub logprobs: Option<u32>,
    /// The same of each prompt token but the first.
    pub prompt_logprobs: Option<u32>,
    /// Only requests with the same number share blocks of the KV cache.
    pub cache_salt: u64,
    /// Lower numbers run first and are preempted last, across all keys: a priority counts before
    /// the shares of the keys.
    pub priority: i32,
    /// The client's API key; 0 for none. Within a priority each key gets an equal part of the
    /// engine, and among the requests of one key their precedence decides, then the order of
    /// arrival.
    pub key: u32,
    /// Among the requests of its priority and key, lower numbers run first and are preempted last.
    #[cfg_attr(feature = "serde", serde(default))]
    pub precedence: i32,
    /// Whether a mask restricts each token. A mask follows from the tokens before it, so a step
    /// draws a token only after [`Engine::resume`](crate::Engine::resume) for its mask; the first
    /// mask is there from the start. The masks have to ban stop tokens before `min_tokens`.
    #[cfg_attr(feature = "serde", serde(default))]
    pub is_constrained: bool,
    /// When the client stops waiting, on the clock of [`Engine::expire`](crate::Engine::expire).
    pub deadline: Option<Duration>,
}

impl Request {
    /// Returns a greedy request without stop tokens that asks for nothing else. Start from it and
    /// change what matters: fields may be added.
    #[must_use]
    pub fn new(id: RequestId, prompt: Vec<u32>, max_tokens: usize) -> Self {
        Self {
            id,
            prompt,
            max_tokens,
            min_tokens: 0,
            stop_token_ids: Vec::new(),
            sampling: SamplingParams::greedy(),
            logprobs: None,
            prompt_logprobs: None,
            cache_salt: 0,
            priority: 0,
            key: 0,
            precedence: 0,
            is_constrained: false,
            deadline: None,
        }
    }

    /// Returns whether every prompt token must be computed for this request, be its keys and values
    /// known or not: its tokens are counted on their way through the steps, or their likelihoods
    /// are asked for.
    #[must_use]
    pub fn needs_whole_prompt(&self) -> bool {
        self.sampling.is_penalised() || self.prompt_logprobs.is_some()
    }

    /// Checks that tokens fit into columns of 32 signed bits.
    fn check_tokens(&self) -> Result<(), EngineError> {
        let is_none = |token: &&u32| i32::try_from(**token).is_err();
        let of_prompt = self.prompt.iter().find(is_none).map(|token| ("prompt", token));
        let of_stops = || self.stop_token_ids.iter().find(is_none).map(|token| ("stop_token_ids", token));
        let biased = || self.sampling.logit_bias.iter().map(|(token, _)| token);
        let of_biases = || biased().find(is_none).map(|token| ("logit_bias", token));
        match of_prompt.or_else(of_stops).or_else(of_biases) {
            None => Ok(()),
            Some((field, token)) => {
                let value = token.to_string();
                Err(EngineError::OutOfRange { field, value, range: "a token, at most 2147483647" })
            }
        }
    }

    /// Checks that no list and no number is beyond what the columns of a step hold, or what a
    /// runner can work with.
    ///
    /// # Errors
    /// [`EngineError::TooManyEntries`], [`EngineError::TooManyLogprobs`] or
    /// [`EngineError::OutOfRange`].
    pub fn check_limits(&self) -> Result<(), EngineError> {
        let lists = [
            ("logit_bias", self.sampling.logit_bias.len(), MAX_LOGIT_BIAS),
            ("stop_token_ids", self.stop_token_ids.len(), MAX_STOP_TOKEN_IDS),
        ];
        if let Some((field, len, limit)) = lists.into_iter().find(|(_, len, limit)| len > limit) {
            return Err(EngineError::TooManyEntries { field, len, limit });
        }
        self.check_tokens()?;
        if self.min_tokens > self.max_tokens {
            let value = self.min_tokens.to_string();
            return Err(EngineError::OutOfRange {
                field: "min_tokens",
                value,
                range: "at most `max_tokens`",
            });
        }
        let counts = [("logprobs", self.logprobs), ("prompt_logprobs", self.prompt_logprobs)];
        match counts.into_iter().find(|(_, asked)| asked.is_some_and(|asked| asked > MAX_LOGPROBS)) {
            Some((field, Some(asked))) => Err(EngineError::TooManyLogprobs { field, asked }),
            _ => self.sampling.check_ranges(),
        }
    }
}
