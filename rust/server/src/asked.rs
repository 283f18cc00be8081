//! The options of a request, from any dialect.

pub mod tools;

use streamcore_engine::GivenParameters;
use streamcore_grammar::Node;

use self::tools::Tools;
use crate::naming::ReasoningField;
use crate::stream::ShownToken;
use crate::stream::finish::{Finish, FinishReason};
use crate::text::Conversation;

/// A checked request for an answer to a conversation.
#[derive(Debug, PartialEq)]
pub struct ChatRequest {
    /// The conversation to render.
    pub conversation: Conversation,
    /// Its tools.
    pub tools: Tools,
    /// All else.
    pub options: Options,
}

/// The options of a request.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// The model by name; empty where the client leaves it to the server, until the name is known.
    pub model: String,
    /// Answer as a stream of events.
    pub stream: bool,
    /// Choices per prompt.
    pub n: usize,
    /// Maximum tokens to generate.
    pub max_tokens: Option<usize>,
    /// Whether an excessive maximum is reduced to the room that there is.
    pub caps_max_tokens: bool,
    /// The field of the maximum.
    pub max_tokens_field: &'static str,
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// Where the answer ends.
    pub stops: Stops,
    /// The details of the answer beside text.
    pub details: Details,
    /// Each choice begins with its prompt.
    pub echo: bool,
    /// The part of the answer's id behind its prefix.
    pub request_id: Option<String>,
    /// Shares cached prompts only with requests of the same salt.
    pub cache_salt: Option<String>,
    /// Lower ones are served first.
    pub priority: i32,
    /// The constraint on the answer.
    pub asked: Option<Asked>,
    /// Maximum tokens of its thought.
    pub thinking_token_budget: Option<usize>,
    /// Keep only this many of the last tokens of a prompt; -1 keeps what leaves room for the
    /// answer.
    pub truncate_prompt_tokens: Option<i64>,
}

/// Sampling parameters. Missing ones take the model's defaults.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sampling {
    /// The numbers, within the ranges of the table of fields.
    pub numbers: GivenParameters,
    /// Token ids of the vocabulary, each once.
    pub logit_bias: Vec<(u32, f32)>,
    /// Decides every draw.
    pub seed: Option<u64>,
}

/// Where an answer ends.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stops {
    /// Texts that end it.
    pub texts: Vec<String>,
    /// Tokens that end it.
    pub token_ids: Vec<u32>,
    /// The model's own end tokens do not end it.
    pub ignore_eos: bool,
    /// The output includes the stop that ended it.
    pub are_part_of_output: bool,
    /// The output does not end before this many tokens.
    pub min_tokens: usize,
}

/// The details of an answer beside text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Details {
    /// End a stream with a usage chunk.
    pub include_usage: bool,
    /// Put the usage so far into every chunk.
    pub continuous_usage: bool,
    /// Log-probabilities of the tokens, and of this many of the likeliest.
    pub logprobs: Option<u32>,
    /// The same of the prompt, in vLLM's shape.
    pub prompt_logprobs: Option<u32>,
    /// Token ids.
    pub token_ids: bool,
    /// Tokens in log-probabilities are written as ids.
    pub tokens_as_ids: bool,
    /// Log-probabilities of the answer are kept to its end, also where it is streamed.
    pub keeps_logprobs: bool,
    /// Special tokens leave text.
    pub special_tokens: bool,
    /// Reasoning is left out.
    pub hides_reasoning: bool,
    /// Calls take the form of OpenAI's older `function_call`.
    pub calls_are_older: bool,
    /// The fields of reasoning that is shown: set by the server, not the client.
    pub reasoning_field: ReasoningField,
}

/// A constraint on an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    /// The grammar.
    pub node: Node,
    /// The field that requires it.
    pub field: String,
}

impl Details {
    /// Returns the finish reason of a chat.
    #[must_use]
    pub fn finish_reason(&self, finish: &Finish) -> FinishReason {
        match finish.finish_reason {
            FinishReason::ToolCalls if self.calls_are_older => FinishReason::FunctionCall,
            reason => reason,
        }
    }

    /// Returns whether the answer reports details of its tokens.
    #[must_use]
    pub fn tells_tokens(&self) -> bool {
        self.logprobs.is_some() || self.token_ids
    }

    /// Returns whether it matters which tokens a piece of text is made of.
    #[must_use]
    pub fn counts_tokens(&self) -> bool {
        self.tells_tokens() || self.continuous_usage
    }

    /// Returns whether the log-probabilities of these tokens are reported.
    #[must_use]
    pub fn tells_logprobs(&self, tokens: &[ShownToken]) -> bool {
        self.logprobs.is_some() && tokens.iter().any(|token| token.logprobs.is_some())
    }

    /// Returns whether the deltas of a stream are nothing but text and log-probabilities.
    #[must_use]
    pub fn is_logprobs_only(&self) -> bool {
        self.logprobs.is_some() && !self.token_ids && !self.continuous_usage
    }

    /// Returns whether the deltas of a stream are nothing but text.
    #[must_use]
    pub fn is_text_only(&self) -> bool {
        !self.counts_tokens()
    }
}
