//! The end of a choice, on the wire.

use serde::Serialize;

/// OpenAI's `finish_reason`, as far as it can occur here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// A stop token or a stop string.
    Stop,
    /// `max_tokens` or the context.
    Length,
    /// A stop behind a call that is complete.
    ToolCalls,
    /// The same for a client that knows OpenAI's older calls.
    FunctionCall,
}

/// vLLM's `stop_reason`: what the client's own stop list matched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum StopReason {
    /// One of `stop`.
    Text(String),
    /// One of `stop_token_ids`.
    Token(u32),
}

/// The end of a choice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finish {
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// What matched, if the client asked for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_reason: Option<StopReason>,
}
