//! vLLM's `/tokenize` and `/detokenize`.

use serde::Serialize;
use serde_json::Value;

use super::chat::request::conversation;
use super::fields::{Fields, token_ids, wrong_type};
use crate::error::ApiError;

/// What is to be tokenised.
#[derive(Debug, PartialEq)]
pub enum TokenizeRequest {
    /// A text as it is.
    Prompt {
        /// The text.
        text: String,
        /// Whether the tokenizer adds its own, such as a beginning of sequence.
        add_special_tokens: bool,
    },
    /// A conversation, through the chat template.
    Messages {
        /// As the template takes them.
        messages: Vec<Value>,
        /// Whether the text ends where the assistant's answer begins.
        add_generation_prompt: bool,
    },
}

impl TokenizeRequest {
    /// Reads a body.
    ///
    /// # Errors
    /// 400, naming the field.
    pub fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let mut fields = Fields::parse(body)?;
        if let Some(messages) = fields.take("messages") {
            let add_generation_prompt = fields.flag_or("add_generation_prompt", true)?;
            return Ok(Self::Messages { messages: conversation(messages)?, add_generation_prompt });
        }
        let add_special_tokens = fields.flag_or("add_special_tokens", true)?;
        let text = fields.string("prompt")?.ok_or_else(|| fields.missing("prompt"))?;
        Ok(Self::Prompt { text, add_special_tokens })
    }
}

/// The tokens of a text.
#[derive(Debug, Serialize)]
pub struct TokenizeResponse {
    /// How many.
    pub count: usize,
    /// Longest context that can be asked for.
    pub max_model_len: usize,
    /// Which.
    pub tokens: Vec<u32>,
}

/// The text of tokens.
#[derive(Debug, Serialize)]
pub struct DetokenizeResponse {
    /// The text.
    pub prompt: String,
}

/// Reads the tokens of a `/detokenize` body.
///
/// # Errors
/// 400, naming the field.
pub fn parse_detokenize(body: &[u8], vocab_size: usize) -> Result<Vec<u32>, ApiError> {
    match Fields::parse(body)?.require("tokens")? {
        Value::Array(list) => token_ids("tokens", &list, vocab_size),
        other => Err(wrong_type("tokens", &other, "a list of token ids")),
    }
}
