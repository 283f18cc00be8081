//! Prompts, and their tokenisation.

use super::lengths;
use crate::app::App;
use crate::asked::Options;
use crate::error::ApiError;
use crate::script::cue::Cue;
use crate::stream::Echo;
use crate::text::{Conversation, EncodedConversation, Pieces, PromptError, TextError, encode_within};

/// A prompt, and its echo.
#[derive(Debug)]
pub struct Prompt {
    /// Its tokens.
    pub tokens: Vec<u32>,
    /// The field that it came from.
    pub field: String,
    /// The text that starts each of its choices.
    pub echo: Option<Echo>,
    /// What a script's rules match; only set for a script.
    pub cue: Option<Cue>,
}

/// Returns the maximum tokens up to which a prompt is tokenised; `None` if only its end is kept.
#[must_use]
pub fn max_prompt_tokens(app: &App, options: &Options) -> Option<usize> {
    options.truncate_prompt_tokens.is_none().then(|| app.driver.config().max_seq_len())
}

/// Tokenises a text with `encode`, piece by piece with each piece's offset, unless it exceeds
/// `max_tokens` or the limit of any text. Errors name `field`.
///
/// # Errors
/// 400 if the tokenizer cannot encode it, or the text is too long.
pub fn encode<T>(
    app: &App,
    text: &str,
    max_tokens: Option<usize>,
    field: &str,
    pieces: Pieces,
    encode: impl Fn(&str, usize) -> Result<Vec<T>, TextError>,
) -> Result<Vec<T>, ApiError> {
    encode_within(text, max_tokens, pieces, encode)
        .map_err(|error| lengths::refuse_text(app.driver.config(), &error, field))
}

/// Renders and tokenises a conversation, unless it certainly exceeds `max_tokens`.
///
/// # Errors
/// 400 if the model has no template, the template refuses the conversation, or it is too long.
pub fn encode_conversation(
    app: &App,
    conversation: Conversation,
    max_tokens: Option<usize>,
) -> Result<EncodedConversation, ApiError> {
    if !conversation.tools.is_empty() {
        app.tell_of_unknown_tools();
    }
    app.text.encode_conversation(conversation, max_tokens).map_err(|error| {
        let (code, param) = match &error {
            PromptError::Text(error) => {
                return lengths::refuse_text(app.driver.config(), error, "messages");
            }
            PromptError::NoTemplate => ("unsupported_parameter", "messages"),
            PromptError::NothingToContinue => ("invalid_value", "continue_final_message"),
            PromptError::Template(_) => ("invalid_value", "messages"),
        };
        ApiError::invalid(code, param, error.to_string())
    })
}

/// Keeps the end of a prompt. An answer that may fill the context gets a quarter of it.
pub(super) fn truncate(app: &App, options: &Options, tokens: &mut Vec<u32>, default_max_tokens: usize) {
    let Some(most) = options.truncate_prompt_tokens else { return };
    let max_seq_len = app.driver.config().max_seq_len();
    let default = || default_max_tokens.min(max_seq_len / 4).max(1);
    let room = max_seq_len.saturating_sub(options.max_tokens.unwrap_or_else(default)).max(1);
    let num_kept = usize::try_from(most).unwrap_or(room);
    tokens.drain(..tokens.len().saturating_sub(num_kept));
}

/// Refuses tokens that the tokenizer knows and the model does not.
pub(super) fn check_tokens(app: &App, Prompt { tokens, field, .. }: &Prompt) -> Result<(), ApiError> {
    let Some(token) = tokens.iter().find(|token| **token as usize >= app.vocab_size) else { return Ok(()) };
    let message =
        format!("`{field}` has token id {token}, the model's vocabulary has {} tokens", app.vocab_size);
    Err(ApiError::invalid("invalid_value", field, message))
}
