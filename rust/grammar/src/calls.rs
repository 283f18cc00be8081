//! Calls of tools within an answer.

use crate::grammar::{Node, Piece, Tag};

/// The call of one tool in a model family's notation.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// The text before the arguments, with the name of the tool.
    pub begin: Vec<Piece>,
    /// The arguments, as [`Node::json`] of their schema, or another notation.
    pub arguments: Node,
    /// The text behind them.
    pub end: Vec<Piece>,
}

/// Calls that an answer may have, or must have.
#[derive(Debug, Clone, PartialEq)]
pub struct Calls {
    /// One for each tool that may be called.
    pub calls: Vec<Call>,
    /// Whether there may be more than one call in an answer.
    pub parallel: bool,
}

impl Calls {
    /// Requires calls and nothing else, at least one: `tool_choice` is `required` or a name.
    ///
    /// `separator` stands between two calls.
    pub fn required(self, separator: impl Into<String>) -> Node {
        let max = (!self.parallel).then_some(1);
        let any = Node::AnyOf(self.calls.into_iter().map(Call::into_node).collect());
        Node::Repeat { node: Box::new(any), separator: separator.into(), min: 1, max }
    }

    /// Allows free text with calls in it: `tool_choice` is `auto`, and tools are strict.
    ///
    /// A call starts at its first piece if that is a token, else at `trigger`, the common start of
    /// such pieces. An answer of a single call ends with it. If a first piece does not start with
    /// `trigger`, the whole piece is the trigger.
    pub fn within_text(self, trigger: &str) -> Node {
        let tags = self.calls.into_iter().map(|call| call.into_tag(trigger)).collect();
        Node::Free { tags, min: 0, max: (!self.parallel).then_some(1) }
    }
}

impl Call {
    fn into_node(self) -> Node {
        Node::Sequence(vec![Node::pieces(self.begin), self.arguments, Node::pieces(self.end)])
    }

    fn into_tag(mut self, trigger: &str) -> Tag {
        let first = if self.begin.is_empty() { Piece::Text(String::new()) } else { self.begin.remove(0) };
        let (trigger, rest) = split(first, trigger);
        self.begin.insert(0, Piece::Text(rest));
        Tag { trigger, rest: self.into_node() }
    }
}

/// Returns the trigger of a marker, and what follows it.
pub(crate) fn split(first: Piece, trigger: &str) -> (Piece, String) {
    match first {
        Piece::Text(text) => match text.strip_prefix(trigger) {
            Some(rest) if !trigger.is_empty() => (Piece::Text(trigger.to_owned()), rest.to_owned()),
            _ => (Piece::Text(text), String::new()),
        },
        token @ Piece::Token(_) => (token, String::new()),
    }
}
