//! Arguments that are a JSON object in the text: passed on as the model wrote them.

use crate::event::Outcome;
use crate::input::Behind;
use crate::json::JsonScanner;
use crate::session::Session;

/// One object, from its first brace to its last.
#[derive(Debug)]
pub(crate) struct JsonObject(JsonScanner);

/// The progress of arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// More text is needed.
    Wait,
    /// The arguments are complete and passed on.
    Done,
    /// The text that follows cannot be part of them.
    Broken,
    /// The answer is over, and so is the call.
    Truncated,
}

impl JsonObject {
    /// Reads an object whose first brace is next.
    pub(crate) fn new() -> Self {
        Self(JsonScanner::new())
    }

    /// Emits the part of the object read so far.
    pub(crate) fn step(&mut self, session: &mut Session) -> Progress {
        loop {
            let (letters, behind) = session.input.stretch(0, self.0.is_in_string());
            let (num_bytes, end) = self.0.read(letters);
            let progress = match end {
                Some(true) => Some(Progress::Done),
                Some(false) => Some(Progress::Broken),
                None if behind == Behind::Special && self.0.is_in_string() => None,
                None => Some(unfinished(behind)),
            };
            session.arguments(num_bytes);
            if progress == Some(Progress::Truncated) {
                session.end(Outcome::Truncated, 0);
            }
            if let Some(progress) = progress {
                return progress;
            }
        }
    }
}

/// Returns the progress of arguments whose letters have ended.
pub(crate) fn unfinished(behind: Behind) -> Progress {
    match behind {
        Behind::Open => Progress::Wait,
        Behind::Special => Progress::Broken,
        Behind::End => Progress::Truncated,
    }
}
