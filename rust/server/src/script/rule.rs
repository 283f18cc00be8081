//! The rules that match requests with answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use axum::http::StatusCode;
use regex::Regex;

use super::answer::ScriptedAnswer;
use super::cue::{Scene, ToolAnswer};
use super::file::{AnswerFile, ErrorFile, RuleFile, ScriptError, ToolFile, WhenFile};
use super::writer::Writer;
use crate::error::ApiError;

/// The reply of a rule.
#[derive(Debug)]
pub(super) enum Reply {
    /// An answer, which may end badly.
    Answer(Arc<ScriptedAnswer>),
    /// An error status.
    Refusal(ApiError),
}

#[derive(Debug)]
pub(super) struct Rule {
    is_for_all: bool,
    text: TextTest,
    tool: Option<ToolTest>,
    model: Option<String>,
    stream: Option<bool>,
    /// At least one.
    replies: Vec<Reply>,
    num_taken: AtomicUsize,
}

/// A condition on a text.
#[derive(Debug)]
struct TextTest {
    equals: Option<String>,
    contains: Option<String>,
    regex: Option<Regex>,
}

/// A condition on a tool's result.
#[derive(Debug)]
struct ToolTest {
    name: Option<String>,
    call_id: Option<String>,
    content: TextTest,
}

impl TextTest {
    fn new(
        place: &str,
        equals: Option<String>,
        contains: Option<String>,
        regex: Option<&str>,
    ) -> Result<Self, ScriptError> {
        let regex = regex.map(|regex| read_regex(&format!("{place}.regex"), regex)).transpose()?;
        Ok(Self { equals, contains, regex })
    }

    fn holds(&self, text: &str) -> bool {
        self.equals.as_deref().is_none_or(|whole| text == whole)
            && self.contains.as_deref().is_none_or(|part| text.contains(part))
            && self.regex.as_ref().is_none_or(|regex| regex.is_match(text))
    }
}

impl ToolTest {
    fn new(place: &str, file: ToolFile) -> Result<Self, ScriptError> {
        let ToolFile { name, tool_call_id: call_id, equals, contains, regex } = file;
        Ok(Self { name, call_id, content: TextTest::new(place, equals, contains, regex.as_deref())? })
    }

    fn holds(&self, answer: &ToolAnswer) -> bool {
        (self.name.is_none() || self.name == answer.name)
            && (self.call_id.is_none() || self.call_id == answer.call_id)
            && self.content.holds(&answer.content)
    }
}

impl Rule {
    /// Reads a rule; `place` is where it is in the script.
    pub(super) fn new(place: &str, file: RuleFile, writer: &mut Writer<'_>) -> Result<Self, ScriptError> {
        let RuleFile { when, answer, answers } = file;
        let is_for_all = when == WhenFile::default();
        let WhenFile { equals, contains, regex, model, stream, tool } = when;
        let tool = tool.map(|tool| ToolTest::new(&format!("{place}.when.tool"), tool)).transpose()?;
        let text = TextTest::new(&format!("{place}.when"), equals, contains, regex.as_deref())?;
        let replies = match (answer, answers) {
            (Some(answer), None) => vec![reply(&format!("{place}.answer"), answer, writer)?],
            (None, Some(answers)) if !answers.is_empty() => {
                let read = |(nth, answer)| reply(&format!("{place}.answers[{nth}]"), answer, writer);
                answers.into_iter().enumerate().map(read).collect::<Result<_, _>>()?
            }
            (None, Some(_)) => return Err(ScriptError::new(format!("{place}.answers"), "is empty")),
            _ => return Err(ScriptError::new(place, "must have either `answer` or `answers`")),
        };
        Ok(Self { is_for_all, text, tool, model, stream, replies, num_taken: AtomicUsize::new(0) })
    }

    /// Returns the model that must be asked for, if one must.
    pub(super) fn model(&self) -> Option<&str> {
        self.model.as_deref()
    }

    /// Returns a text that it may be for.
    pub(super) fn example(&self) -> Option<&str> {
        self.text.equals.as_deref().or(self.text.contains.as_deref())
    }

    pub(super) fn is_for_all(&self) -> bool {
        self.is_for_all
    }

    pub(super) fn is_for(&self, scene: &Scene<'_>) -> bool {
        let Scene { cue, model, stream } = scene;
        self.text.holds(&cue.text)
            && self.model.as_deref().is_none_or(|asked| model == &asked)
            && self.stream.is_none_or(|streamed| *stream == streamed)
            && self.tool.as_ref().is_none_or(|tool| cue.tool_answers.iter().any(|answer| tool.holds(answer)))
    }

    /// Returns the replies in turn; the last one stays.
    pub(super) fn next(&self) -> &Reply {
        let nth = self.num_taken.fetch_add(1, Relaxed);
        &self.replies[nth.min(self.replies.len() - 1)]
    }
}

/// Compiles a regular expression; the last line of the library's error names the fault.
fn read_regex(place: &str, regex: &str) -> Result<Regex, ScriptError> {
    Regex::new(regex).map_err(|error| {
        let error = error.to_string();
        let message = error.lines().last().unwrap_or_default().trim_start_matches("error: ");
        ScriptError::new(place, format!("is not a regular expression: {message}"))
    })
}

fn reply(place: &str, mut file: AnswerFile, writer: &mut Writer<'_>) -> Result<Reply, ScriptError> {
    let Some(error) = file.error.take() else {
        return ScriptedAnswer::new(place, file, writer).map(|answer| Reply::Answer(Arc::new(answer)));
    };
    let says_more = file.says_something()
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
