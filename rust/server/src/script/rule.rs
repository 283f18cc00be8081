//! Which requests get which answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use axum::http::StatusCode;
use regex::Regex;

use super::answer::ScriptedAnswer;
use super::file::{AnswerFile, ErrorFile, RuleFile, ScriptError, WhenFile};
use crate::error::ApiError;
use crate::text::TextModel;

/// What rules look at.
#[derive(Debug, Clone, Copy)]
pub struct Scene<'a> {
    /// The last message of the user, or the prompt.
    pub text: &'a str,
    /// The model that is asked for.
    pub model: &'a str,
    /// Whether the answer is streamed.
    pub stream: bool,
}

/// What a rule gives.
#[derive(Debug)]
pub(super) enum Reply {
    /// An answer, which may end badly.
    Answer(Arc<ScriptedAnswer>),
    /// An error status.
    Refusal(ApiError),
}

#[derive(Debug)]
pub(super) struct Rule {
    when: WhenFile,
    regex: Option<Regex>,
    /// At least one.
    replies: Vec<Reply>,
    num_taken: AtomicUsize,
}

impl Rule {
    /// Reads a rule; `place` is where it is in the script.
    pub(super) fn new(place: &str, file: RuleFile, text: &mut TextModel) -> Result<Self, ScriptError> {
        let RuleFile { when, answer, answers } = file;
        let regex = when.regex.as_deref().map(|regex| read_regex(&format!("{place}.when.regex"), regex));
        let regex = regex.transpose()?;
        let replies = match (answer, answers) {
            (Some(answer), None) => vec![reply(&format!("{place}.answer"), answer, text)?],
            (None, Some(answers)) if !answers.is_empty() => {
                let read = |(nth, answer)| reply(&format!("{place}.answers[{nth}]"), answer, text);
                answers.into_iter().enumerate().map(read).collect::<Result<_, _>>()?
            }
            (None, Some(_)) => return Err(ScriptError::new(format!("{place}.answers"), "is empty")),
            _ => return Err(ScriptError::new(place, "must have either `answer` or `answers`")),
        };
        Ok(Self { when, regex, replies, num_taken: AtomicUsize::new(0) })
    }

    /// The model that must be asked for, if one must.
    pub(super) fn model(&self) -> Option<&str> {
        self.when.model.as_deref()
    }

    /// A text that it may be for.
    pub(super) fn example(&self) -> Option<&str> {
        self.when.equals.as_deref().or(self.when.contains.as_deref())
    }

    pub(super) fn is_for_all(&self) -> bool {
        self.when == WhenFile::default()
    }

    pub(super) fn is_for(&self, scene: &Scene<'_>) -> bool {
        let when = &self.when;
        when.equals.as_deref().is_none_or(|text| scene.text == text)
            && when.contains.as_deref().is_none_or(|part| scene.text.contains(part))
            && self.regex.as_ref().is_none_or(|regex| regex.is_match(scene.text))
            && when.model.as_deref().is_none_or(|model| scene.model == model)
            && when.stream.is_none_or(|stream| scene.stream == stream)
    }

    /// The replies in turn; the last one stays.
    pub(super) fn next(&self) -> &Reply {
        let nth = self.num_taken.fetch_add(1, Relaxed);
        &self.replies[nth.min(self.replies.len() - 1)]
    }
}

/// The library draws the place over several lines; the last one says what is wrong.
fn read_regex(place: &str, regex: &str) -> Result<Regex, ScriptError> {
    Regex::new(regex).map_err(|error| {
        let error = error.to_string();
        let message = error.lines().last().unwrap_or_default().trim_start_matches("error: ");
        ScriptError::new(place, format!("is not a regular expression: {message}"))
    })
}

fn reply(place: &str, mut file: AnswerFile, text: &mut TextModel) -> Result<Reply, ScriptError> {
    let Some(error) = file.error.take() else {
        return ScriptedAnswer::new(place, file, text).map(|answer| Reply::Answer(Arc::new(answer)));
    };
    let says_more = file.text.is_some()
        || file.pieces.is_some()
        || file.finish_reason.is_some()
        || file.first_token_delay_ms.is_some()
        || file.token_delay_ms.is_some()
        || file.fault.is_some();
    if says_more {
        return Err(ScriptError::new(place, "has an `error`, nothing else has a meaning beside it"));
    }
    refusal(&format!("{place}.error"), error).map(Reply::Refusal)
}

fn refusal(place: &str, error: ErrorFile) -> Result<ApiError, ScriptError> {
    let ErrorFile { status, code, message, retry_after_s } = error;
    let is_error = |status: &StatusCode| status.is_client_error() || status.is_server_error();
    let status = StatusCode::from_u16(status).ok().filter(is_error).ok_or_else(|| {
        ScriptError::new(format!("{place}.status"), format!("is {status}, it must be between 400 and 599"))
    })?;
    Ok(ApiError::Scripted { status, code, message, retry_after_s })
}
