//! OpenAI's response object.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::error::ApiError;
use crate::openai::fields::Fields;
use crate::openai::usage::Usage;
use crate::stream::Identity;

/// The parts of a request that its answer repeats.
#[derive(Debug, Clone)]
pub struct Told {
    /// The system message.
    pub instructions: Option<String>,
    /// Maximum tokens to generate.
    pub max_output_tokens: Option<u64>,
    /// The client's own data.
    pub metadata: Value,
    /// The answer may have several calls.
    pub parallel_tool_calls: bool,
    /// The response that this one follows.
    pub previous_response_id: Option<String>,
    /// The effort of reasoning.
    pub effort: Option<String>,
    /// The thought is a summary.
    pub summary: Option<String>,
    /// The response is kept.
    pub store: bool,
    /// It goes on when its client leaves.
    pub background: bool,
    /// The format of the answer.
    pub format: Value,
    /// Whether and which tools the answer calls.
    pub tool_choice: Value,
    /// The tools that the prompt has.
    pub tools: Vec<Value>,
    /// Text has log-probabilities.
    pub has_logprobs: bool,
    /// Number of likely tokens with log-probabilities.
    pub top_logprobs: u64,
    /// A thought is there in base64 as well.
    pub has_encrypted_content: bool,
    /// The treatment of a prompt that is too long.
    pub truncation: String,
    /// The sampling temperature.
    pub temperature: Option<f64>,
    /// The sampling's `top_p`.
    pub top_p: Option<f64>,
}

impl Told {
    /// Takes the fields that are not part of the chat. `is_kept`: whether responses can be stored.
    ///
    /// # Errors
    /// None if the table has checked the body.
    pub(super) fn take(fields: &mut Fields, is_kept: bool) -> Result<Self, ApiError> {
        Ok(Self {
            instructions: fields.string("instructions")?,
            metadata: fields.take("metadata").unwrap_or_else(|| json!({})),
            previous_response_id: fields.string("previous_response_id")?,
            store: fields.flag_or("store", true)? && is_kept,
            background: fields.flag("background")?,
            max_output_tokens: None,
            parallel_tool_calls: true,
            effort: None,
            summary: None,
            format: json!({ "type": "text" }),
            tool_choice: "auto".into(),
            tools: Vec::new(),
            has_logprobs: false,
            top_logprobs: 0,
            has_encrypted_content: false,
            truncation: "disabled".to_owned(),
            temperature: None,
            top_p: None,
        })
    }

    /// Returns the members of the object.
    #[must_use]
    pub fn members(&self) -> Map<String, Value> {
        let members = json!({
            "background": self.background,
            "instructions": self.instructions,
            "max_output_tokens": self.max_output_tokens,
            "max_tool_calls": null,
            "metadata": self.metadata,
            "parallel_tool_calls": self.parallel_tool_calls,
            "previous_response_id": self.previous_response_id,
            "reasoning": { "effort": self.effort, "summary": self.summary },
            "service_tier": "default",
            "store": self.store,
            "temperature": self.temperature,
            "text": { "format": self.format, "verbosity": "medium" },
            "tool_choice": self.tool_choice,
            "tools": self.tools,
            "top_logprobs": self.top_logprobs,
            "top_p": self.top_p,
            "truncation": self.truncation,
            "user": null,
        });
        match members {
            Value::Object(members) => members,
            _ => Map::new(),
        }
    }
}

/// The status of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// The response waits for its first step.
    Queued,
    /// The response is being generated.
    InProgress,
    /// The response is complete.
    Completed,
    /// The response was cut off.
    Incomplete,
    /// The server could not go on.
    Failed,
    /// The response was cancelled.
    Cancelled,
}

impl Status {
    /// Returns whether the response has ended.
    #[must_use]
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Queued | Self::InProgress)
    }
}

/// One item of an answer.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Output {
    /// The model's thought.
    Reasoning {
        id: String,
        summary: Vec<Part>,
        content: Vec<Part>,
        #[serde(skip_serializing_if = "Option::is_none")]
        encrypted_content: Option<String>,
        status: Status,
    },
    /// A message.
    Message { id: String, status: Status, role: &'static str, content: Vec<Part> },
    /// A call.
    FunctionCall { id: String, call_id: String, name: String, arguments: String, status: Status },
}

/// A part of an item.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[expect(clippy::enum_variant_names, reason = "OpenAI's names")]
pub(super) enum Part {
    /// Text of the answer.
    OutputText {
        annotations: [(); 0],
        /// A list, kept as it was written.
        logprobs: Box<RawValue>,
        text: String,
    },
    /// Text of a thought.
    ReasoningText { text: String },
    /// Text of a thought, as a summary.
    SummaryText { text: String },
}

/// Packs a thought in base64, not as a secret but for clients that send back only this form.
pub(super) fn packed(thought: &str) -> String {
    BASE64_STANDARD.encode(thought)
}

/// Returns the thought of a [`packed`] text, if it is one.
pub(super) fn thought_of(packed: &str) -> Option<String> {
    String::from_utf8(BASE64_STANDARD.decode(packed).ok()?).ok()
}

/// OpenAI's `response` object.
#[derive(Debug, Serialize)]
pub(super) struct ResponseObject<'a> {
    pub(super) id: &'a str,
    pub(super) object: &'static str,
    pub(super) created_at: u64,
    pub(super) status: Status,
    pub(super) error: Option<Value>,
    pub(super) incomplete_details: Option<Value>,
    pub(super) model: &'a str,
    pub(super) output: &'a [Output],
    pub(super) usage: Option<ResponseUsage>,
    #[serde(flatten)]
    pub(super) told: &'a Map<String, Value>,
}

impl<'a> ResponseObject<'a> {
    /// Creates a response that has just begun.
    #[must_use]
    pub(super) fn new(identity: &'a Identity, status: Status, told: &'a Map<String, Value>) -> Self {
        let Identity { id, created, model } = identity;
        Self {
            id,
            object: "response",
            created_at: *created,
            status,
            error: None,
            incomplete_details: None,
            model,
            output: &[],
            usage: None,
            told,
        }
    }
}

/// OpenAI's `usage` of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct ResponseUsage {
    input_tokens: usize,
    input_tokens_details: InputTokensDetails,
    output_tokens: usize,
    output_tokens_details: OutputTokensDetails,
    total_tokens: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
struct InputTokensDetails {
    cached_tokens: usize,
    /// Strict clients want it; writing costs nothing here.
    cache_write_tokens: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
struct OutputTokensDetails {
    reasoning_tokens: usize,
}

impl From<Usage> for ResponseUsage {
    fn from(usage: Usage) -> Self {
        let reasoning = usage.completion_tokens_details.map(|details| details.reasoning_tokens);
        Self {
            input_tokens: usage.prompt_tokens,
            input_tokens_details: InputTokensDetails {
                cached_tokens: usage.prompt_tokens_details.cached_tokens,
                cache_write_tokens: 0,
            },
            output_tokens: usage.completion_tokens,
            output_tokens_details: OutputTokensDetails { reasoning_tokens: reasoning.unwrap_or_default() },
            total_tokens: usage.total_tokens,
        }
    }
}

/// The answer of `/v1/responses/input_tokens`.
#[derive(Debug, Serialize)]
pub struct InputTokens {
    object: &'static str,
    input_tokens: usize,
}

impl InputTokens {
    /// A prompt of this many tokens.
    #[must_use]
    pub fn of(input_tokens: usize) -> Self {
        Self { object: "response.input_tokens", input_tokens }
    }
}
