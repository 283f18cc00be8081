//! The fields of a script file. Unknown fields are refused; an error names the field's path and the
//! line.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};
use serde_path_to_error::Path;

/// The place of an error in the script as a whole.
const SCRIPT: &str = "script";
/// Longest delay: a day.
const MAX_DELAY_MS: u64 = 24 * 60 * 60 * 1000;

/// Why a script cannot be played.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{place}`: {message}")]
pub struct ScriptError {
    /// Where in the script, such as `rules[0].answer.text`.
    pub place: String,
    /// What is wrong there.
    pub message: String,
}

impl ScriptError {
    pub(super) fn new(place: impl Into<String>, message: impl Into<String>) -> Self {
        Self { place: place.into(), message: message.into() }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ScriptFile {
    #[serde(default)]
    pub(super) models: Vec<String>,
    pub(super) tool_call_parser: Option<String>,
    pub(super) reasoning_parser: Option<String>,
    pub(super) rules: Vec<RuleFile>,
}

impl ScriptFile {
    /// Returns all answers of all rules.
    pub(super) fn answers(&self) -> impl Iterator<Item = &AnswerFile> {
        self.rules.iter().flat_map(|rule| rule.answer.iter().chain(rule.answers.iter().flatten()))
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RuleFile {
    #[serde(default)]
    pub(super) when: WhenFile,
    pub(super) answer: Option<AnswerFile>,
    pub(super) answers: Option<Vec<AnswerFile>>,
}

/// Conditions; all that are given must hold.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WhenFile {
    pub(super) equals: Option<String>,
    pub(super) contains: Option<String>,
    pub(super) regex: Option<String>,
    pub(super) model: Option<String>,
    pub(super) stream: Option<bool>,
    pub(super) tool: Option<ToolFile>,
}

/// Conditions on a tool's result; all that are given must hold.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ToolFile {
    pub(super) name: Option<String>,
    pub(super) tool_call_id: Option<String>,
    pub(super) equals: Option<String>,
    pub(super) contains: Option<String>,
    pub(super) regex: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AnswerFile {
    pub(super) reasoning: Option<String>,
    pub(super) text: Option<String>,
    pub(super) tool_calls: Option<Vec<CallFile>>,
    pub(super) pieces: Option<Vec<PieceFile>>,
    pub(super) finish_reason: Option<FinishReasonFile>,
    pub(super) first_token_delay_ms: Option<u64>,
    pub(super) token_delay_ms: Option<u64>,
    pub(super) fault: Option<FaultFile>,
    pub(super) error: Option<ErrorFile>,
}

impl AnswerFile {
    /// Returns whether the model is to say something.
    pub(super) fn says_something(&self) -> bool {
        self.reasoning.is_some() || self.text.is_some() || self.tool_calls.is_some() || self.pieces.is_some()
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CallFile {
    pub(super) name: String,
    #[serde(default)]
    pub(super) arguments: Map<String, Value>,
    pub(super) id: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "a piece is a string or a list of bytes")]
pub(super) enum PieceFile {
    Text(String),
    Bytes(Vec<u8>),
}

impl PieceFile {
    pub(super) fn into_bytes(self) -> Vec<u8> {
        match self {
            Self::Text(text) => text.into_bytes(),
            Self::Bytes(bytes) => bytes,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum FinishReasonFile {
    Stop,
    Length,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum FaultKind {
    Error,
    Hang,
    Cut,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FaultFile {
    pub(super) kind: FaultKind,
    #[serde(default)]
    pub(super) after_tokens: usize,
    pub(super) message: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ErrorFile {
    pub(super) status: u16,
    pub(super) code: String,
    pub(super) message: String,
    pub(super) retry_after_s: Option<u64>,
}

/// Reads the JSON and checks what needs no other field.
pub(super) fn parse(json: &str) -> Result<ScriptFile, ScriptError> {
    // A text that is not JSON is refused below, with its line.
    if let Ok(script) = serde_json::from_str(json) {
        check_kind(SCRIPT, SCRIPT, &script)?;
    }
    let mut reader = serde_json::Deserializer::from_str(json);
    let file: ScriptFile = serde_path_to_error::deserialize(&mut reader)
        .map_err(|error| ScriptError::new(place_of(error.path()), error.inner().to_string()))?;
    reader.end().map_err(|error| ScriptError::new(SCRIPT, error.to_string()))?;
    if file.rules.is_empty() {
        return Err(ScriptError::new("rules", "is empty, there must be at least one rule"));
    }
    if let Some(index) = file.models.iter().position(String::is_empty) {
        return Err(ScriptError::new(format!("models[{index}]"), "is empty"));
    }
    if let Some(index) =
        file.models.iter().enumerate().position(|(nth, name)| file.models[..nth].contains(name))
    {
        let message = format!("`{}` is there twice", file.models[index]);
        return Err(ScriptError::new(format!("models[{index}]"), message));
    }
    Ok(file)
}

/// Refuses a value of the wrong kind in JSON's terms. Deserialisation would use Rust's, and accept
/// a list of an object's fields.
fn check_kind(place: &str, name: &str, value: &Value) -> Result<(), ScriptError> {
    let is_whole = value.is_null() || value.is_u64();
    let expected = match name {
        "arguments" if value.is_object() => return Ok(()),
        SCRIPT | "when" | "tool" | "answer" | "call" | "arguments" | "fault" | "error" => match value {
            Value::Object(fields) => {
                return fields.iter().try_for_each(|(name, value)| {
                    let place = if place == SCRIPT { name.clone() } else { format!("{place}.{name}") };
                    check_kind(&place, name, value)
                });
            }
            _ => "an object",
        },
        "rules" | "answers" | "tool_calls" => match value {
            Value::Array(items) => {
                let name = if name == "tool_calls" { "call" } else { "answer" };
                return items
                    .iter()
                    .enumerate()
                    .try_for_each(|(index, item)| check_kind(&format!("{place}[{index}]"), name, item));
            }
            _ => "a list of objects",
        },
        "first_token_delay_ms" | "token_delay_ms" if !is_whole => "a whole number of milliseconds, 0 or more",
        "after_tokens" | "status" | "retry_after_s" if !is_whole => "a whole number, 0 or more",
        _ => return Ok(()),
    };
    Err(ScriptError::new(place, format!("must be {expected}")))
}

fn place_of(path: &Path) -> String {
    if path.iter().next().is_none() { SCRIPT.to_owned() } else { path.to_string() }
}

/// Reads a delay, up to a day.
pub(super) fn delay(place: &str, delay_ms: Option<u64>) -> Result<Duration, ScriptError> {
    let delay_ms = delay_ms.unwrap_or(0);
    if delay_ms > MAX_DELAY_MS {
        return Err(ScriptError::new(place, format!("is {delay_ms}, it must be at most {MAX_DELAY_MS}")));
    }
    Ok(Duration::from_millis(delay_ms))
}
