//! vLLM's `/tokenize` and `/detokenize`.

use serde::Serialize;
use serde_json::Value;

use super::chat::request::Conversation;
use super::chat::tools::Tools;
use super::fields::{Fields, token_ids, wrong_type};
use super::options::unsupported;
use super::schema::{Endpoint, body_params, check};
use crate::error::ApiError;

/// The fields that determine the tokens of a prompt. They are refused as in a generating request.
const PROMPT_FIELDS: [&str; 40] = [
    "add_bos_token",
    "add_generation_prompt",
    "add_special_tokens",
    "audio_data",
    "chat_template",
    "chat_template_kwargs",
    "context",
    "continue_final_message",
    "do_preprocess",
    "documents",
    "enable_thinking",
    "function_call",
    "functions",
    "image_data",
    "images",
    "input_embeds",
    "input_extra",
    "input_ids",
    "input_prefix",
    "input_suffix",
    "inputs",
    "messages",
    "modalities",
    "multimodal_data",
    "prompt_embeds",
    "prompt_token_ids",
    "raw",
    "reasoning",
    "reasoning_effort",
    "safe_prompt",
    "suffix",
    "system",
    "template",
    "text",
    "think",
    "thinking",
    "tool_choice",
    "tools",
    "truncation_side",
    "video_data",
];
/// The kept part of a prompt depends on the request's other fields.
const TRUNCATION: &str = "truncate_prompt_tokens";

/// A `/tokenize` body, checked.
#[derive(Debug, PartialEq)]
pub struct TokenizeRequest {
    /// The source to tokenise.
    pub source: TokenizeSource,
    /// Tell the text of each token, too.
    pub return_token_strs: bool,
}

/// The source of a text to tokenise.
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
    pub fn parse(body: &[u8], vocab_size: usize) -> Result<Self, ApiError> {
        let mut fields = Fields::parse(body)?;
        let endpoint = if fields.get("messages").is_some() { Endpoint::Chat } else { Endpoint::Completions };
        let shaping = body_params().filter(|param| PROMPT_FIELDS.contains(&param.name));
        check(&mut fields, shaping, endpoint, vocab_size)?;
        if let Some(value) = fields.take(TRUNCATION) {
            return Err(unsupported(TRUNCATION, &value, None));
        }
        let return_token_strs = fields.flag("return_token_strs")?;
        let source = match fields.take("messages") {
            Some(messages) => {
                let tools = Tools::take(&mut fields)?.list;
                TokenizeSource::Messages(Conversation::take(&mut fields, messages, tools)?)
            }
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
    /// Number of tokens.
    pub count: usize,
    /// Longest context.
    pub max_model_len: usize,
    /// Token ids.
    pub tokens: Vec<u32>,
    /// The text of each, if requested.
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;
    use crate::openai::chat::request::ChatRequest;

    /// A program would count the tokens of another prompt than the chat's.
    #[test]
    fn what_chat_refuses_about_a_prompt_is_refused_here() {
        let mut num_refused = 0;
        for name in PROMPT_FIELDS {
            assert!(body_params().any(|param| param.name == name), "{name}");
            for value in [json!(true), json!("x"), json!({ "x": 1 })] {
                let mut body = json!({ "model": "toy", "messages": [{ "role": "user", "content": "hi" }] });
                body[name] = value;
                let body = body.to_string();
                let of_chat = ChatRequest::parse(body.as_bytes(), 8).err();
                num_refused += usize::from(of_chat.is_some());
                assert_eq!(TokenizeRequest::parse(body.as_bytes(), 8).err(), of_chat, "{body}");
            }
        }
        assert!(num_refused > 25, "{num_refused}");
        let cut = br#"{ "prompt": "hi", "truncate_prompt_tokens": 4 }"#;
        let message = TokenizeRequest::parse(cut, 8).unwrap_err().to_string();
        assert_eq!(message, "`truncate_prompt_tokens` is `4`, which is not supported");
        let suffixed = br#"{ "prompt": "hi", "suffix": "x" }"#;
        assert_eq!(TokenizeRequest::parse(suffixed, 8).unwrap_err().param(), Some("suffix"));
    }
}
