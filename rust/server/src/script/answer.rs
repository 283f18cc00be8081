//! An answer as the runner plays it: tokens, delays, and how it ends.

use std::time::Duration;

use super::file::{AnswerFile, FaultFile, FaultKind, FinishReasonFile, PieceFile, ScriptError, delay};
use super::writer::{Said, Writer};
use crate::driver::EndError;

/// One scripted answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScriptedAnswer {
    /// What is generated, in this order.
    pub(super) tokens: Vec<u32>,
    /// The ids of its calls, as far as the script gives them.
    pub(super) call_ids: Vec<Option<String>>,
    /// From the arrival of the request to the first token.
    pub(super) first_token_delay: Duration,
    /// From each token to the next, and to the end.
    pub(super) token_delay: Duration,
    pub(super) ending: Ending,
}

/// The end of an answer, after its tokens or those before a fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ending {
    /// This token ends the output.
    Stop { token: u32 },
    /// The output may have no more tokens.
    Length,
    /// The answer hangs for ever.
    Hang,
    /// The request ends with an error.
    Fail(EndError),
}

impl ScriptedAnswer {
    /// Reads an answer; `place` is where it is in the script.
    pub(super) fn new(place: &str, file: AnswerFile, writer: &mut Writer<'_>) -> Result<Self, ScriptError> {
        let no_end = || ScriptError::new(place, "cannot end: the model has no end-of-sequence token");
        let end_token = writer.end_token().ok_or_else(no_end)?;
        if file.tool_calls.as_ref().is_some_and(Vec::is_empty) {
            return Err(ScriptError::new(format!("{place}.tool_calls"), "is empty"));
        }
        let calls = file.tool_calls.unwrap_or_default();
        let said = Said { reasoning: file.reasoning, text: file.text, calls };
        let mut tokens = tokens(place, &said, file.pieces, file.fault.is_some(), writer)?;
        let ending = match (file.fault, file.finish_reason) {
            (None, None | Some(FinishReasonFile::Stop)) => Ending::Stop { token: end_token },
            (None, Some(FinishReasonFile::Length)) if tokens.is_empty() => {
                let message = "is `length`, the answer must have at least one token then";
                return Err(ScriptError::new(format!("{place}.finish_reason"), message));
            }
            (None, Some(FinishReasonFile::Length)) => Ending::Length,
            (Some(_), Some(_)) => {
                let message = "has no meaning with a fault: the answer does not finish";
                return Err(ScriptError::new(format!("{place}.finish_reason"), message));
            }
            (Some(fault), None) => fault_of(&format!("{place}.fault"), fault, &mut tokens)?,
        };
        Ok(Self {
            tokens,
            call_ids: said.calls.into_iter().map(|call| call.id).collect(),
            first_token_delay: delay(&format!("{place}.first_token_delay_ms"), file.first_token_delay_ms)?,
            token_delay: delay(&format!("{place}.token_delay_ms"), file.token_delay_ms)?,
            ending,
        })
    }

    /// Returns the ids of its calls in their order, as far as the script gives them; others are
    /// made.
    #[must_use]
    pub fn call_ids(&self) -> &[Option<String>] {
        &self.call_ids
    }

    /// Returns the tokens that the engine may generate.
    #[must_use]
    pub fn max_tokens(&self) -> usize {
        if self.ending == Ending::Length { self.tokens.len() } else { usize::MAX }
    }

    /// Returns whether it hangs: its stream then sends no keep-alives either.
    #[must_use]
    pub fn hangs(&self) -> bool {
        self.ending == Ending::Hang
    }
}

/// Returns the tokens of an answer.
fn tokens(
    place: &str,
    said: &Said,
    pieces: Option<Vec<PieceFile>>,
    may_be_absent: bool,
    writer: &mut Writer<'_>,
) -> Result<Vec<u32>, ScriptError> {
    let names = [
        ("reasoning", said.reasoning.is_some()),
        ("text", said.text.is_some()),
        ("tool_calls", !said.calls.is_empty()),
    ];
    let name = names.into_iter().find_map(|(name, is_said)| is_said.then_some(name));
    match (name, pieces) {
        (Some(name), Some(_)) => Err(ScriptError::new(place, format!("has both `{name}` and `pieces`"))),
        (Some(_), None) => writer.write(place, said),
        (None, None) if may_be_absent => Ok(Vec::new()),
        (None, None) => {
            let message = "has none of `reasoning`, `text`, `tool_calls`, `pieces`, `fault` and `error`";
            Err(ScriptError::new(place, message))
        }
        (None, Some(pieces)) => {
            let pieces: Vec<_> = pieces.into_iter().map(PieceFile::into_bytes).collect();
            if let Some(index) = pieces.iter().position(Vec::is_empty) {
                return Err(ScriptError::new(format!("{place}.pieces[{index}]"), "is empty"));
            }
            Ok(pieces.iter().map(|piece| writer.piece(piece)).collect())
        }
    }
}

/// Cuts the tokens off at the fault.
fn fault_of(place: &str, fault: FaultFile, tokens: &mut Vec<u32>) -> Result<Ending, ScriptError> {
    let FaultFile { kind, after_tokens, message } = fault;
    if after_tokens > tokens.len() {
        let message = format!("is {after_tokens}, the answer has {} tokens", tokens.len());
        return Err(ScriptError::new(format!("{place}.after_tokens"), message));
    }
    tokens.truncate(after_tokens);
    match (kind, message) {
        (FaultKind::Error, message) => {
            let message = message.unwrap_or_else(|| "the script says that the model fails here".to_owned());
            Ok(Ending::Fail(EndError::Runner(message)))
        }
        (_, Some(_)) => Err(ScriptError::new(format!("{place}.message"), "is only for kind `error`")),
        (FaultKind::Hang, None) => Ok(Ending::Hang),
        (FaultKind::Cut, None) => Ok(Ending::Fail(EndError::Cut)),
    }
}
