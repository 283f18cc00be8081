//! The usage of a request.

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
    /// The cached part of the prompts.
    pub prompt_tokens_details: PromptTokensDetails,
    /// The uses of the answer's tokens, if reasoning is parsed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completion_tokens_details: Option<CompletionTokensDetails>,
}

/// OpenAI's `prompt_tokens_details` object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct PromptTokensDetails {
    /// Tokens that were in the KV cache before the first choice of their prompt began.
    pub cached_tokens: usize,
}

/// OpenAI's `completion_tokens_details` object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct CompletionTokensDetails {
    /// Tokens whose text is reasoning.
    pub reasoning_tokens: usize,
}

impl Usage {
    /// Creates a usage; the total is the sum of the first two.
    #[must_use]
    pub fn new(
        prompt_tokens: usize,
        completion_tokens: usize,
        cached_tokens: usize,
        reasoning_tokens: Option<usize>,
    ) -> Self {
        Self {
            prompt_tokens,
            completion_tokens,
            total_tokens: prompt_tokens + completion_tokens,
            prompt_tokens_details: PromptTokensDetails { cached_tokens },
            completion_tokens_details: reasoning_tokens
                .map(|reasoning_tokens| CompletionTokensDetails { reasoning_tokens }),
        }
    }
}
