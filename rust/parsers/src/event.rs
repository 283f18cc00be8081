//! The input and the output of a parser.

/// A piece of an answer, as it is detokenised: complete characters, cut anywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Letters. They never are a marker that is a special token in this tokenizer, whatever they
    /// spell.
    Text(&'a str),
    /// The text of one special token.
    Special(&'a str),
}

/// Why an answer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// The model ended it.
    Stop,
    /// It was cut off.
    Length,
}

/// The meaning of a stretch of the answer.
///
/// Events come in the order of the answer, and each stands for the `num_bytes` bytes that follow
/// those of the event before. Together they stand for the whole answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its meaning.
    pub kind: EventKind,
    /// Bytes of the answer that it stands for.
    pub num_bytes: usize,
}

/// The kinds of events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventKind {
    /// A piece of the reasoning: the very bytes that it stands for.
    Reasoning(String),
    /// A piece of the content: the very bytes that it stands for.
    Content(String),
    /// A call begins. Calls never overlap.
    CallBegin {
        /// The tool.
        name: String,
        /// The id that the model gave, in the formats that have one.
        id: Option<String>,
    },
    /// A piece of the arguments of the call that has begun. The pieces of a complete call make one
    /// JSON object. A piece is empty where the model's own text says nothing in JSON.
    Arguments(String),
    /// The call ends.
    CallEnd(Outcome),
    /// Markers, and whitespace around them: text for the parser alone.
    Syntax,
}

/// The end of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Its arguments are one JSON object.
    Complete,
    /// Its arguments left the format after the call had begun; the rest of them was passed on as
    /// the model wrote it.
    Malformed,
    /// The answer ended within its arguments.
    Truncated,
}
