//! From a checked request to running choices.

use serde_json::Value;
use streamcore_engine::SamplingParams;

use crate::app::App;
use crate::driver::NewRequest;
use crate::error::ApiError;
use crate::openai::options::Options;
use crate::stream::{Choice, Identity};
use crate::text::{RenderOptions, TemplateError, TextError};

/// Tokenises a text. `param` is the field that it came from.
///
/// # Errors
/// 400, if the tokenizer cannot.
pub fn encode(app: &App, text: &str, add_special_tokens: bool, param: &str) -> Result<Vec<u32>, ApiError> {
    let refused = |error: TextError| ApiError::invalid("invalid_value", param, error.to_string());
    app.text.tokenizer.encode(text, add_special_tokens).map_err(refused)
}

/// Renders and tokenises a conversation, up to its end or to where the assistant's answer begins.
///
/// # Errors
/// 400, if the model has no template, or the template refuses the conversation.
pub fn encode_conversation(
    app: &App,
    messages: &[Value],
    add_generation_prompt: bool,
) -> Result<Vec<u32>, ApiError> {
    let Some(template) = &app.text.chat_template else {
        let message = "this model has no chat template, use `/v1/completions`";
        return Err(ApiError::invalid("unsupported_parameter", "messages", message));
    };
    let options = RenderOptions { add_generation_prompt, ..RenderOptions::default() };
    let refused = |error: TemplateError| ApiError::invalid("invalid_value", "messages", error.to_string());
    let text = template.render(messages, &options).map_err(refused)?;
    // The template writes the special tokens itself.
    encode(app, &text, false, "messages")
}

/// What the engine is asked for. Without `max_tokens`, `default_max_tokens` are generated as far as the context allows.
///
/// # Errors
/// 400, if the prompt is empty, longer than the context, or has a token that the model does not know.
pub fn new_request(
    app: &App,
    options: &Options,
    prompt: Vec<u32>,
    default_max_tokens: usize,
    param: &str,
) -> Result<NewRequest, ApiError> {
    check_tokens(app, &prompt, param)?;
    let config = app.driver.config();
    let rest_of_context = config.max_seq_len().saturating_sub(prompt.len()).max(1);
    let max_tokens = options.max_tokens.unwrap_or(default_max_tokens.min(rest_of_context));
    config.check_lengths(prompt.len(), max_tokens).map_err(|error| ApiError::too_long(param, &error))?;
    let defaults = &app.text.generation;
    let mut stop_token_ids = options.stop_token_ids.clone();
    if !options.ignore_eos {
        stop_token_ids.extend_from_slice(&defaults.eos_token_ids);
    }
    let sampling = SamplingParams {
        temperature: options.temperature.or(defaults.temperature).unwrap_or(1.0),
        top_p: options.top_p.or(defaults.top_p).unwrap_or(1.0),
        top_k: options.top_k.or(defaults.top_k).unwrap_or(0),
        seed: options.seed.unwrap_or_else(random),
        ..SamplingParams::greedy()
    };
    // A whole answer is of no use before its end, unless it may end at a stop string.
    let deliver_at_end = !options.stream && options.stop.is_empty();
    Ok(NewRequest { stop_token_ids, sampling, deliver_at_end, ..NewRequest::new(prompt, max_tokens) })
}

/// The tokenizer may know tokens that the model does not.
fn check_tokens(app: &App, prompt: &[u32], param: &str) -> Result<(), ApiError> {
    let Some(token) = prompt.iter().find(|token| **token as usize >= app.vocab_size) else { return Ok(()) };
    let message =
        format!("prompt has token id {token}, the model's vocabulary has {} tokens", app.vocab_size);
    Err(ApiError::invalid("invalid_value", param, message))
}

/// Queues the requests of all choices, or none: those that were queued before a refusal are aborted by their drop.
///
/// # Errors
/// 429 or 503.
pub fn submit(app: &App, options: &Options, requests: Vec<NewRequest>) -> Result<Vec<Choice>, ApiError> {
    let start = |request| {
        let tokens = app.driver.submit(request)?;
        let detokenizer = app.text.tokenizer.detokenizer();
        Ok(Choice::new(tokens, detokenizer, options.stop.clone(), options.stop_token_ids.clone()))
    };
    requests.into_iter().map(start).collect()
}

/// What the answer says about itself: the API's prefix and the request's id.
#[must_use]
pub fn identity(app: &App, prefix: &str, request_id: &str) -> Identity {
    let model = app.model_name().to_owned();
    Identity { id: format!("{prefix}-{request_id}"), created: app.driver.unix_time_s(), model }
}

/// A number that nobody can guess.
#[must_use]
pub fn random() -> u64 {
    getrandom::u64().expect("the system has random numbers")
}
