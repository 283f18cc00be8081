//! The parts of a parsed answer: content, reasoning and calls.

use super::delta::{ShownToken, pieces_of};

/// A stretch of an answer, of one kind.
#[derive(Debug, Clone)]
pub struct Part {
    /// Its kind.
    pub kind: PartKind,
    /// Its text; empty for the beginning of a call.
    pub text: String,
    /// The tokens whose text ends in it, and those of the markers before it.
    pub tokens: Vec<ShownToken>,
}

/// The kinds of parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PartKind {
    /// The answer itself.
    Content,
    /// Thoughts before it.
    Reasoning,
    /// A call begins.
    CallBegin(CallHead),
    /// The arguments of a call.
    Arguments {
        /// The call, counted from 0.
        call: usize,
    },
}

/// The head of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallHead {
    /// Which call of the choice, counted from 0.
    pub index: usize,
    /// The tool.
    pub name: String,
    /// The id to which its result will refer.
    pub id: CallId,
}

/// The source of a call's id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallId {
    /// The model gave it.
    Given(String),
    /// It is made here, as long as OpenAI's are.
    Long,
    /// It is made here, of nine letters and digits: the chat templates of Mistral refuse any other.
    Short,
}

/// A piece of a part, for one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said<'a> {
    /// A piece of the content; empty if the event has nothing but tokens.
    Content(&'a str),
    /// A piece of the reasoning, never empty.
    Reasoning(&'a str),
    /// A call begins.
    CallBegin(&'a CallHead),
    /// A piece of the arguments, never empty.
    Arguments {
        /// The call, counted from 0.
        call: usize,
        /// The piece.
        text: &'a str,
    },
}

impl Part {
    /// Cuts it into pieces that each fit into one event, with the tokens of each.
    #[must_use]
    pub fn pieces(&self) -> Vec<(Said<'_>, &[ShownToken])> {
        let said = |text| match (text, &self.kind) {
            ("", _) | (_, PartKind::Content | PartKind::CallBegin(_)) => Said::Content(text),
            (_, PartKind::Reasoning) => Said::Reasoning(text),
            (_, PartKind::Arguments { call }) => Said::Arguments { call: *call, text },
        };
        // Reasoning is written under two names.
        let times = if self.kind == PartKind::Reasoning { 2 } else { 1 };
        let pieces = pieces_of(&self.text, &self.tokens, times);
        let mut pieces: Vec<_> = pieces.map(|(text, tokens)| (said(text), tokens)).collect();
        if let PartKind::CallBegin(head) = &self.kind {
            let tokens = pieces.pop().map_or(&[][..], |(_, tokens)| tokens);
            pieces.push((Said::CallBegin(head), tokens));
        }
        pieces
    }
}
