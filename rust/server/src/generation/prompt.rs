//! Prompts, and how they become tokens.

use super::lengths;
use crate::app::App;
use crate::asked::Options;
use crate::error::ApiError;
use crate::script::cue::Cue;
use crate::stream::Echo;
use crate::text::{Conversation, EncodedConversation, Pieces, PromptError, TextError, encode_within};

/// A prompt, and how it is echoed.
#[derive(Debug)]
pub struct Prompt {
    /// Its tokens.
    pub tokens: Vec<u32>,
    /// The field that it came from.
    pub field: String,
    /// What each of its choices begins with.
    pub echo: Option<Echo>,
    /// What the rules of a script look at; only needed if there is a script.
    pub cue: Option<Cue>,
}

/// Most tokens of a prompt that is worth tokenising to its end: without a limit if the end is all
/// that is kept.
#[must_use]
pub fn max_prompt_tokens(app: &App, options: &Options) -> Option<usize> {
    options.truncate_prompt_tokens.is_none().then(|| app.driver.config().max_seq_len())
}

/// Tokenises a text by `encode`, unless it has more than `max_tokens`, or than are made of any
/// text: a piece at a time, with the place where it begins. `field` is the one that the text came
/// from.
///
/// # Errors
/// 400, if the tokenizer cannot, or the text is too long.
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

/// Renders and tokenises a conversation, unless it certainly has more than `max_tokens`.
///
/// # Errors
/// 400, if the model has no template, the template refuses the conversation, or it is too long.
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

/// Keeps the end of a prompt. An answer that may take all of the context gets a quarter of it.
pub(super) fn truncate(app: &App, options: &Options, tokens: &mut Vec<u32>, default_max_tokens: usize) {
    let Some(most) = options.truncate_prompt_tokens else { return };
    let max_seq_len = app.driver.config().max_seq_len();
    let default = || default_max_tokens.min(max_seq_len / 4).max(1);
    let room = max_seq_len.saturating_sub(options.max_tokens.unwrap_or_else(default)).max(1);
    let num_kept = usize::try_from(most).unwrap_or(room);
    tokens.drain(..tokens.len().saturating_sub(num_kept));
}

/// The tokenizer may know tokens that the model does not.
pub(super) fn check_tokens(app: &App, Prompt { tokens, field, .. }: &Prompt) -> Result<(), ApiError> {
    let Some(token) = tokens.iter().find(|token| **token as usize >= app.vocab_size) else { return Ok(()) };
    let message =
        format!("`{field}` has token id {token}, the model's vocabulary has {} tokens", app.vocab_size);
    Err(ApiError::invalid("invalid_value", field, message))
}
