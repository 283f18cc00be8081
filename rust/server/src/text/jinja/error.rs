//! The errors of reading or rendering a template.

use std::fmt;

/// Why a template does not compile or was not rendered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::text) struct Error {
    pub(in crate::text) message: String,
    /// The line of the template, from 1; 0 until it is known.
    pub(in crate::text) line: usize,
    /// Whether the template itself refused, with `raise_exception`.
    pub(in crate::text) is_raised: bool,
}

pub(super) type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), line: 0, is_raised: false }
    }

    /// Puts the error on a line, unless it is on one already.
    pub(super) fn at(mut self, line: usize) -> Self {
        if self.line == 0 {
            self.line = line;
        }
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 && !self.is_raised {
            write!(f, "line {}: ", self.line)?;
        }
        f.write_str(&self.message)
    }
}

/// Shorthand for a failure in the middle of an expression.
pub(super) fn fail<T>(message: impl Into<String>) -> Result<T> {
    Err(Error::new(message))
}
