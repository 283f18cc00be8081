//! Paths within a schema.

use std::fmt;

use crate::error::GrammarError;

/// A path from the root: each step knows the one before.
#[derive(Clone, Copy)]
pub(super) enum Path<'p> {
    Root(&'p str),
    Key(&'p Path<'p>, &'p str),
    Index(&'p Path<'p>, usize),
}

impl<'p> Path<'p> {
    pub(super) fn key(&'p self, key: &'p str) -> Path<'p> {
        Path::Key(self, key)
    }

    pub(super) fn index(&'p self, index: usize) -> Path<'p> {
        Path::Index(self, index)
    }

    /// Returns an error about a keyword of the schema that stands here.
    pub(super) fn unsupported(&self, keyword: &str, reason: impl Into<String>) -> GrammarError {
        GrammarError::Unsupported {
            keyword: keyword.to_owned(),
            path: self.to_string(),
            reason: reason.into(),
        }
    }

    /// Returns an error about the value that stands here.
    pub(super) fn invalid(&self, reason: impl Into<String>) -> GrammarError {
        GrammarError::Invalid { path: self.to_string(), reason: reason.into() }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root("") => f.write_str("/"),
            Self::Root(root) => f.write_str(root),
            Self::Key(parent, key) => {
                parent.write_prefix(f)?;
                write!(f, "/{}", key.replace('~', "~0").replace('/', "~1"))
            }
            Self::Index(parent, index) => {
                parent.write_prefix(f)?;
                write!(f, "/{index}")
            }
        }
    }
}

impl Path<'_> {
    fn write_prefix(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root("") => Ok(()),
            _ => write!(f, "{self}"),
        }
    }
}
