//! A text completion request and its prompts.

use serde_json::Value;

use crate::error::ApiError;
use crate::openai::fields::{Fields, token_ids, wrong_type};
use crate::openai::options::Options;
use crate::openai::schema::{Endpoint, MAX_PROMPTS};

/// Maximum choices of all prompts together.
const MAX_CHOICES: usize = 1024;
/// OpenAI's default.
pub const DEFAULT_MAX_TOKENS: usize = 16;

/// One prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PromptSource {
    /// As text.
    Text(String),
    /// As tokens.
    Tokens(Vec<u32>),
}

/// A text completion request, checked.
#[derive(Debug, PartialEq)]
pub struct CompletionRequest {
    /// At least one; each gives `n` choices.
    pub prompts: Vec<PromptSource>,
    /// Whether they came in a list.
    pub are_listed: bool,
    /// Whether the tokenizer adds its own tokens to a prompt of text.
    pub add_special_tokens: bool,
    /// All else.
    pub options: Options,
}

impl CompletionRequest {
    /// Reads a body.
    ///
    /// # Errors
    /// 400, naming the field.
    pub fn parse(body: &[u8], vocab_size: usize) -> Result<Self, ApiError> {
        Self::take(&mut Fields::parse(body)?, vocab_size)
    }

    /// Takes the fields out of a body.
    ///
    /// # Errors
    /// 400, naming the field.
    pub fn take(fields: &mut Fields, vocab_size: usize) -> Result<Self, ApiError> {
        let options = Options::take(fields, Endpoint::Completions, vocab_size)?;
        check_best_of(fields, options.n)?;
        if options.max_tokens == Some(0) && !options.echo && options.details.prompt_logprobs.is_none() {
            let message = "`max_tokens` is 0, which needs `echo` or `prompt_logprobs`";
            return Err(ApiError::invalid("invalid_value", "max_tokens", message));
        }
        if options.echo && options.truncate_prompt_tokens.is_some() {
            let message = "`truncate_prompt_tokens` is not allowed with `echo`";
            return Err(ApiError::invalid("invalid_value", "truncate_prompt_tokens", message));
        }
        let add_special_tokens = fields.flag_or("add_special_tokens", true)?;
        let (prompts, are_listed) = prompts(fields.require("prompt")?, vocab_size)?;
        let num_choices = prompts.len() * options.n;
        if num_choices > MAX_CHOICES {
            let message = format!("`n` gives {num_choices} choices for all prompts, limit is {MAX_CHOICES}");
            return Err(ApiError::invalid("invalid_value", "n", message));
        }
        Ok(Self { prompts, are_listed, add_special_tokens, options })
    }
}

fn check_best_of(fields: &mut Fields, n: usize) -> Result<(), ApiError> {
    match fields.count("best_of") {
        Some(best_of) if best_of != n => {
            let n = if n == 1 { "which is 1 unless it is given".to_owned() } else { format!("which is {n}") };
            let message =
                format!("`best_of` is {best_of}, it must be equal to `n`, {n}: choices are not ranked");
            Err(ApiError::invalid("unsupported_parameter", "best_of", message))
        }
        _ => Ok(()),
    }
}

/// Reads a string, a list of strings, a list of token ids, or a list of such lists; returns also
/// whether it is a list of prompts.
fn prompts(value: Value, vocab_size: usize) -> Result<(Vec<PromptSource>, bool), ApiError> {
    let list = match value {
        Value::String(text) => return Ok((vec![PromptSource::Text(text)], false)),
        Value::Array(list) => list,
        other => return Err(wrong_type("prompt", &other, "a string or a list")),
    };
    match list.first() {
        None => Err(ApiError::invalid(
            "invalid_value",
            "prompt",
            "`prompt` is empty, it must have at least one entry",
        )),
        Some(Value::Number(_)) => {
            Ok((vec![PromptSource::Tokens(token_ids("prompt", &list, vocab_size)?)], false))
        }
        Some(_) if list.len() > MAX_PROMPTS => {
            let message = format!("`prompt` has {} entries, limit is {MAX_PROMPTS}", list.len());
            Err(ApiError::invalid("invalid_value", "prompt", message))
        }
        Some(_) => {
            let prompts = list.into_iter().enumerate();
            let prompts: Result<_, _> =
                prompts.map(|(index, value)| prompt(index, value, vocab_size)).collect();
            Ok((prompts?, true))
        }
    }
}

fn prompt(index: usize, value: Value, vocab_size: usize) -> Result<PromptSource, ApiError> {
    let path = format!("prompt[{index}]");
    match value {
        Value::String(text) => Ok(PromptSource::Text(text)),
        Value::Array(list) => Ok(PromptSource::Tokens(token_ids(&path, &list, vocab_size)?)),
        other => Err(wrong_type(&path, &other, "a string or a list of token ids")),
    }
}
