//! Checks that a prompt and its answer fit into the context; a refusal names the field and both
//! numbers. LiteLLM recognises it by "this model's maximum context length is", LangChain by "prompt
//! is too long" or the code, so these words stay as they are.

use streamcore_engine::EngineConfig;

use super::Prompt;
use crate::asked::Options;
use crate::error::ApiError;
use crate::text::TextError;

/// The code of every error about lengths.
const CODE: &str = "context_length_exceeded";

/// Returns the maximum generated tokens: as requested, or as much of `default` as there is room
/// for.
///
/// # Errors
/// 400 if the prompt has no tokens, or there is no room.
pub(super) fn max_tokens(
    config: &EngineConfig,
    options: &Options,
    prompt: &Prompt,
    default: usize,
) -> Result<usize, ApiError> {
    let (num_prompt_tokens, field) = (prompt.tokens.len(), &*prompt.field);
    if num_prompt_tokens == 0 {
        return Err(ApiError::invalid("invalid_value", field, format!("`{field}` has no tokens")));
    }
    let room = config.max_seq_len().checked_sub(num_prompt_tokens);
    let has_room = |room: &usize| *room > 0 || options.max_tokens == Some(0);
    let Some(room) = room.filter(has_room) else {
        return Err(prompt_too_long(config, num_prompt_tokens, field));
    };
    let most = if options.caps_max_tokens { room } else { usize::MAX };
    let max_tokens = options.max_tokens.map_or(default.min(room), |asked| asked.min(most));
    if max_tokens > room {
        let asked = options.max_tokens_field;
        let message = format!(
            "`{asked}` is {max_tokens}, there is room for {room}: {}, {} has {num_prompt_tokens} ({CODE})",
            limit(config),
            called(field)
        );
        return Err(ApiError::invalid(CODE, asked, message));
    }
    check_min_tokens(options, max_tokens, default)?;
    Ok(max_tokens)
}

fn prompt_too_long(config: &EngineConfig, num_prompt_tokens: usize, field: &str) -> ApiError {
    let fills = num_prompt_tokens == config.max_seq_len();
    let so = if fills { ", which leaves no room for an answer" } else { "" };
    let message =
        format!("the prompt is too long: {}, {} has {num_prompt_tokens}{so}", limit(config), called(field));
    ApiError::invalid(CODE, field, message)
}

/// Refuses a text that cannot be tokenised, or is too long to be.
pub(super) fn refuse_text(config: &EngineConfig, error: &TextError, field: &str) -> ApiError {
    let TextError::TooLong { num_bytes, num_tokens } = error else {
        return ApiError::invalid("invalid_value", field, error.to_string());
    };
    let message = format!(
        "the prompt is too long: {}, the first {num_bytes} bytes of {} have {num_tokens} tokens",
        limit(config),
        called(field)
    );
    ApiError::invalid(CODE, field, message)
}

fn check_min_tokens(options: &Options, max_tokens: usize, default: usize) -> Result<(), ApiError> {
    let min_tokens = options.stops.min_tokens;
    if min_tokens <= max_tokens {
        return Ok(());
    }
    let field = options.max_tokens_field;
    let why = match options.max_tokens {
        Some(_) => format!("`{field}` says so"),
        None if max_tokens == default => format!("that is the default of `{field}`"),
        None => "the context has room for no more".to_owned(),
    };
    let message = format!("`min_tokens` is {min_tokens}, at most {max_tokens} tokens are generated: {why}");
    Err(ApiError::invalid("invalid_value", "min_tokens", message))
}

fn limit(config: &EngineConfig) -> String {
    let limit = config.max_seq_len();
    let why = if limit < config.max_model_len { ", as many as the KV cache holds" } else { "" };
    format!("this model's maximum context length is {limit} tokens{why}")
}

/// Names one of several prompts by its index.
fn called(field: &str) -> String {
    if field.ends_with(']') { format!("`{field}`") } else { "the prompt".to_owned() }
}
