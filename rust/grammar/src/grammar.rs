//! A client's constraint on an answer, before it is checked.

use serde_json::{Value, json};

use crate::error::GrammarError;
use crate::structural_tag;

/// A constraint on an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Grammar(pub Node);

/// A part of an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Node {
    /// This text, and no other.
    Text(String),
    /// This token, which must be a special one.
    Token(u32),
    /// A JSON value that the schema accepts.
    Json {
        /// The schema.
        schema: Value,
        /// The space between its tokens.
        whitespace: Whitespace,
    },
    /// A text that the regular expression matches as a whole.
    Regex(String),
    /// One of these texts.
    Choice(Vec<String>),
    /// A text of the client's own grammar in llguidance's dialect of Lark.
    Lark(String),
    /// Any text up to and including the first occurrence of this one.
    Until(String),
    /// One after the other.
    Sequence(Vec<Node>),
    /// One of them.
    AnyOf(Vec<Node>),
    /// The node again and again.
    Repeat {
        /// The repeated node.
        node: Box<Node>,
        /// The text between.
        separator: String,
        /// Minimum repetitions.
        min: usize,
        /// Maximum repetitions.
        max: Option<usize>,
    },
    /// Free text until a tag begins, then the tag, then free text again.
    Free {
        /// The tags that may start within the text. No other special token may occur.
        tags: Vec<Tag>,
        /// Minimum tags.
        min: usize,
        /// Maximum tags; nothing follows the last.
        max: Option<usize>,
    },
}

/// A tag within free text.
#[derive(Debug, Clone, PartialEq)]
pub struct Tag {
    /// The start of the tag. The text before never contains it.
    pub trigger: Piece,
    /// The part behind the trigger.
    pub rest: Node,
}

/// A part of a marker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Letters, in any tokens that spell them.
    Text(String),
    /// One special token.
    Token(u32),
}

impl From<Piece> for Node {
    fn from(piece: Piece) -> Self {
        match piece {
            Piece::Text(text) => Self::Text(text),
            Piece::Token(id) => Self::Token(id),
        }
    }
}

/// The space between the tokens of a JSON text. There is never any before its first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Whitespace {
    /// A space, or a line end and indentation of up to 32 spaces or 8 tabs, so that runs of space
    /// end.
    #[default]
    Flexible,
    /// None.
    Compact,
}

impl Grammar {
    /// Returns a grammar of the JSON values that the schema accepts.
    pub fn json_schema(schema: Value) -> Self {
        Self(Node::json(schema))
    }

    /// Returns a grammar of any JSON object.
    pub fn json_object() -> Self {
        Self::json_schema(json!({"type": "object"}))
    }

    /// Returns a grammar of the texts that the regular expression matches as a whole.
    pub fn regex(pattern: impl Into<String>) -> Self {
        Self(Node::Regex(pattern.into()))
    }

    /// One of these texts.
    pub fn choice(texts: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self(Node::Choice(texts.into_iter().map(Into::into).collect()))
    }

    /// Returns a grammar in llguidance's dialect of Lark.
    pub fn lark(source: impl Into<String>) -> Self {
        Self(Node::Lark(source.into()))
    }

    /// Reads a `structural_tag`, with `structures` and `triggers` or with `format`.
    ///
    /// # Errors
    /// It has another shape, or a format that cannot be enforced.
    pub fn structural_tag(tag: &Value) -> Result<Self, GrammarError> {
        structural_tag::parse(tag).map(Self)
    }
}

impl Grammar {
    /// Estimates its bytes as text, counted up to `limit`.
    pub(crate) fn num_bytes(&self, limit: usize) -> usize {
        let mut sum = 0;
        self.0.add_bytes(&mut sum, limit);
        sum
    }
}

impl Node {
    fn add_bytes(&self, sum: &mut usize, limit: usize) {
        *sum += 8;
        if *sum > limit {
            return;
        }
        match self {
            Self::Text(text) | Self::Regex(text) | Self::Until(text) | Self::Lark(text) => *sum += text.len(),
            Self::Token(_) => {}
            Self::Json { schema, .. } => add_bytes(schema, sum, limit),
            Self::Choice(texts) => *sum += texts.iter().map(|text| text.len() + 8).sum::<usize>(),
            Self::Sequence(nodes) | Self::AnyOf(nodes) => {
                nodes.iter().for_each(|node| node.add_bytes(sum, limit));
            }
            Self::Repeat { node, separator, .. } => {
                *sum += separator.len();
                node.add_bytes(sum, limit);
            }
            Self::Free { tags, .. } => tags.iter().for_each(|tag| tag.rest.add_bytes(sum, limit)),
        }
    }

    /// Returns a JSON value that the schema accepts, with flexible space.
    pub fn json(schema: Value) -> Self {
        Self::Json { schema, whitespace: Whitespace::default() }
    }

    /// Pieces one after the other.
    pub fn pieces(pieces: impl IntoIterator<Item = Piece>) -> Self {
        Self::Sequence(pieces.into_iter().map(Self::from).collect())
    }
}

fn add_bytes(value: &Value, sum: &mut usize, limit: usize) {
    *sum += 8;
    if *sum > limit {
        return;
    }
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
        Value::String(text) => *sum += text.len(),
        Value::Array(values) => values.iter().for_each(|value| add_bytes(value, sum, limit)),
        Value::Object(members) => members.iter().for_each(|(name, value)| {
            *sum += name.len();
            add_bytes(value, sum, limit);
        }),
    }
}
