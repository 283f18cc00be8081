//! A text completion request and its prompts.

use serde_json::Value;

use crate::error::ApiError;
use crate::openai::fields::{Fields, token_ids, wrong_type};
use crate::openai::options::Options;

/// Most prompts in one request.
const MAX_PROMPTS: usize = 128;
/// What OpenAI generates if the client does not say.
pub const DEFAULT_MAX_TOKENS: usize = 16;

/// One prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prompt {
    /// As text.
    Text(String),
    /// As tokens.
    Tokens(Vec<u32>),
}

/// A text completion request, checked.
#[derive(Debug, PartialEq)]
pub struct CompletionRequest {
    /// At least one; each gives one choice.
    pub prompts: Vec<Prompt>,
    /// Begin each choice with its prompt.
    pub echo: bool,
    /// All else.
    pub options: Options,
}

impl CompletionRequest {
    /// Reads a body.
    ///
    /// # Errors
    /// 400, naming the field.
    pub fn parse(body: &[u8], vocab_size: usize) -> Result<Self, ApiError> {
        let mut fields = Fields::parse(body)?;
        let options = Options::take(&mut fields, vocab_size)?;
        let echo = fields.flag("echo")?;
        Ok(Self { prompts: prompts(fields.require("prompt")?, vocab_size)?, echo, options })
    }
}

/// A string, a list of strings, a list of token ids, or a list of lists of token ids.
fn prompts(value: Value, vocab_size: usize) -> Result<Vec<Prompt>, ApiError> {
    let list = match value {
        Value::String(text) => return Ok(vec![Prompt::Text(text)]),
        Value::Array(list) => list,
        other => return Err(wrong_type("prompt", &other, "a string or a list")),
    };
    match list.first() {
        None => Err(ApiError::invalid(
            "invalid_value",
            "prompt",
            "`prompt` is empty, it must have at least one entry",
        )),
        Some(Value::Number(_)) => Ok(vec![Prompt::Tokens(token_ids("prompt", &list, vocab_size)?)]),
        Some(_) if list.len() > MAX_PROMPTS => {
            let message = format!("`prompt` has {} entries, limit is {MAX_PROMPTS}", list.len());
            Err(ApiError::invalid("invalid_value", "prompt", message))
        }
        Some(_) => {
            list.into_iter().enumerate().map(|(index, value)| prompt(index, value, vocab_size)).collect()
        }
    }
}

fn prompt(index: usize, value: Value, vocab_size: usize) -> Result<Prompt, ApiError> {
    let path = format!("prompt[{index}]");
    match value {
        Value::String(text) => Ok(Prompt::Text(text)),
        Value::Array(list) => Ok(Prompt::Tokens(token_ids(&path, &list, vocab_size)?)),
        other => Err(wrong_type(&path, &other, "a string or a list of token ids")),
    }
}
