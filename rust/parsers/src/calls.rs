//! What a format of calls is to the parser.

use std::fmt;

use crate::marker::Marker;
use crate::session::Session;

/// A format of calls: it is asked where a call may begin, and reads from there.
pub(crate) trait Calls: fmt::Debug + Send {
    /// Returns the markers before a call. None is the beginning of another.
    fn openings(&self) -> &[Marker];

    /// Returns the byte with which a call may begin without a marker, where content begins.
    fn bare_opening(&self) -> Option<u8> {
        None
    }

    /// Reads what there is, from an opening on. Once the answer is over it does not wait.
    fn step(&mut self, session: &mut Session) -> Step;
}

/// What became of a step.
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

/// Returns whether this may be what a tool is called. Names of tools are words; paths and dots come
/// with servers of tools.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let is_part = |letter: char| letter.is_alphanumeric() || matches!(letter, '_' | '-' | '.' | ':' | '/');
    !name.is_empty() && name.len() <= MAX_NAME_BYTES && name.chars().all(is_part)
}

/// Longest name of a tool, or of a parameter, that a format waits for.
pub(crate) const MAX_NAME_BYTES: usize = 256;
