//! The parser's interface to a format of calls.

use std::fmt;

use crate::marker::Marker;
use crate::session::Session;

/// A format of calls: names the places where a call may begin, and reads from there.
pub(crate) trait Calls: fmt::Debug + Send {
    /// Returns the markers before a call. None is the beginning of another.
    fn openings(&self) -> &[Marker];

    /// Returns the byte with which a call may begin without a marker, where content begins.
    fn bare_opening(&self) -> Option<u8> {
        None
    }

    /// Reads the text so far, from an opening on. Does not wait once the answer is over.
    fn step(&mut self, session: &mut Session) -> Step;
}

/// The outcome of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// More text is needed.
    Wait,
    /// No call begins here: this many bytes are text. Nothing has been taken, and the format is as
    /// new.
    NoCall(usize),
    /// The calls are over, and the format is as new.
    Done,
}

/// Returns whether a tool may have this name. Names are words; MCP servers add paths and dots.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let is_part = |letter: char| letter.is_alphanumeric() || matches!(letter, '_' | '-' | '.' | ':' | '/');
    !name.is_empty() && name.len() <= MAX_NAME_BYTES && name.chars().all(is_part)
}

/// Longest name of a tool, or of a parameter, that a format waits for.
pub(crate) const MAX_NAME_BYTES: usize = 256;
