//! vLLM's `/tokenize` and `/detokenize`.

use serde::Serialize;
use serde_json::Value;

use super::chat::request::Conversation;
use super::fields::{Fields, token_ids, wrong_type};
use crate::error::ApiError;

/// A `/tokenize` body, checked.
#[derive(Debug, PartialEq)]
pub struct TokenizeRequest {
    /// What is to be tokenised.
    pub source: TokenizeSource,
    /// Tell the text of each token, too.
    pub return_token_strs: bool,
}

/// What is to be tokenised.
#[derive(Debug, PartialEq)]
pub enum TokenizeSource {
    /// A text as it is.
    Prompt {
        /// The text.
        text: String,
        /// Whether the tokenizer adds its own, such as a beginning of sequence.
        add_special_tokens: bool,
    },
    /// A conversation, through the chat template.
    Messages(Conversation),
}

impl TokenizeRequest {
    /// Reads a body.
    ///
    /// # Errors
    /// 400, naming the field.
    pub fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let mut fields = Fields::parse(body)?;
        let return_token_strs = fields.flag("return_token_strs")?;
        let source = match fields.take("messages") {
            Some(messages) => TokenizeSource::Messages(Conversation::take(&mut fields, messages)?),
            None => TokenizeSource::Prompt {
                add_special_tokens: fields.flag_or("add_special_tokens", true)?,
                text: fields.string("prompt")?.ok_or_else(|| fields.missing("prompt"))?,
            },
        };
        Ok(Self { source, return_token_strs })
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
    /// The text of each, if it was asked for.
    pub token_strs: Option<Vec<String>>,
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
