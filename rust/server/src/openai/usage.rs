//! How many tokens a request cost.

use serde::Serialize;

/// OpenAI's `usage` object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Tokens of all prompts.
    pub prompt_tokens: usize,
    /// Tokens generated, a final stop token included.
    pub completion_tokens: usize,
    /// Both together.
    pub total_tokens: usize,
}

impl Usage {
    /// Adds the two up.
    #[must_use]
    pub fn new(prompt_tokens: usize, completion_tokens: usize) -> Self {
        Self { prompt_tokens, completion_tokens, total_tokens: prompt_tokens + completion_tokens }
    }
}
