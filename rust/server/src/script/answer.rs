//! An answer as the runner plays it: tokens, delays, and how it ends.

use std::time::Duration;

use streamcore_parsers::{Parser, ReasoningFormat, Setup, ToolFormat};

use super::file::{AnswerFile, FaultFile, FaultKind, FinishReasonFile, PieceFile, ScriptError, delay};
use crate::driver::EndError;
use crate::text::TextModel;

/// One scripted answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScriptedAnswer {
    /// What is generated, in this order.
    pub(super) tokens: Vec<u32>,
    /// From the arrival of the request to the first token.
    pub(super) first_token_delay: Duration,
    /// From each token to the next, and to the end.
    pub(super) token_delay: Duration,
    pub(super) ending: Ending,
}

/// What happens when the tokens, or those before a fault, have been played.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ending {
    /// This token ends the output.
    Stop { token: u32 },
    /// The output may have no more tokens.
    Length,
    /// Nothing comes any more, for ever.
    Hang,
    /// The request ends with an error.
    Fail(EndError),
}

impl ScriptedAnswer {
    /// Reads an answer; `place` is where it is in the script.
    pub(super) fn new(place: &str, file: AnswerFile, text: &mut TextModel) -> Result<Self, ScriptError> {
        let end_token =
            *text.generation.eos_token_ids.first().ok_or_else(|| {
                ScriptError::new(place, "cannot end: the model has no end-of-sequence token")
            })?;
        let mut tokens = tokens(place, file.text, file.pieces, file.fault.is_some(), text)?;
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
            first_token_delay: delay(&format!("{place}.first_token_delay_ms"), file.first_token_delay_ms)?,
            token_delay: delay(&format!("{place}.token_delay_ms"), file.token_delay_ms)?,
            ending,
        })
    }

    /// Most tokens that the answer lets the engine generate.
    #[must_use]
    pub fn max_tokens(&self) -> usize {
        if self.ending == Ending::Length { self.tokens.len() } else { usize::MAX }
    }

    /// Whether it stays silent for ever: its stream then shows no other sign of life either.
    #[must_use]
    pub fn hangs(&self) -> bool {
        self.ending == Ending::Hang
    }
}

fn tokens(
    place: &str,
    written: Option<String>,
    pieces: Option<Vec<PieceFile>>,
    may_be_absent: bool,
    text: &mut TextModel,
) -> Result<Vec<u32>, ScriptError> {
    match (written, pieces) {
        (Some(_), Some(_)) => Err(ScriptError::new(place, "has both `text` and `pieces`")),
        (None, None) if may_be_absent => Ok(Vec::new()),
        (None, None) => Err(ScriptError::new(place, "has none of `text`, `pieces`, `fault` and `error`")),
        (Some(written), None) => encode(&format!("{place}.text"), &written, text),
        (None, Some(pieces)) => {
            let pieces: Vec<_> = pieces.into_iter().map(PieceFile::into_bytes).collect();
            if let Some(index) = pieces.iter().position(Vec::is_empty) {
                return Err(ScriptError::new(format!("{place}.pieces[{index}]"), "is empty"));
            }
            Ok(pieces.iter().map(|piece| text.tokenizer.add_piece(piece)).collect())
        }
    }
}

/// The tokens of a text, which must say exactly that text.
fn encode(place: &str, written: &str, text: &TextModel) -> Result<Vec<u32>, ScriptError> {
    let refused = |error| ScriptError::new(place, format!("cannot be tokenised: {error}"));
    let tokens = text.tokenizer.encode(written, false).map_err(refused)?;
    // Those that a parser of calls or reasoning looks for are said as a model says them.
    let is_hidden = |id: &u32| text.tokenizer.decode(&[*id], true).is_ok_and(|text| text.is_empty());
    let is_end = |id: &u32| text.generation.eos_token_ids.contains(id);
    let means_something =
        |id: &u32| text.tokenizer.decode(&[*id], false).is_ok_and(|name| is_marker(&name)) && !is_end(id);
    if tokens.iter().any(|id| is_hidden(id) && !means_something(id))
        || text.tokenizer.decode(&tokens, false).map_err(refused)? != written
    {
        return Err(ScriptError::new(
            place,
            "has a special token in it; write it as `pieces` to have it as text",
        ));
    }
    Ok(tokens)
}

/// Whether a text means something in any format of calls or reasoning.
fn is_marker(text: &str) -> bool {
    let tools = ToolFormat::ALL.into_iter().map(|(_, format)| (Some(format), None));
    let reasoning = ReasoningFormat::ALL.into_iter().map(|(_, format)| (None, Some(format)));
    tools.chain(reasoning).any(|(tools, reasoning)| {
        let parser = Parser::new(Setup { tools, reasoning, ..Setup::default() }, |_| true);
        parser.special_tokens().contains(&text)
    })
}

/// Cuts the tokens off where the fault strikes.
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
