//! Reads a trace, line by line.

use std::io::{self, BufRead};

use crate::format::{Call, FORMAT_VERSION, Header, ModelShape};

/// Why a trace cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The file.
    #[error("the trace cannot be read: {0}")]
    Io(#[from] io::Error),
    /// The first line is not the header of a trace.
    #[error("line 1 is not the header of a trace: {0}")]
    Header(serde_json::Error),
    /// The file is of another version.
    #[error("the trace has `trace_version` {0}, this program reads {FORMAT_VERSION}")]
    Version(u32),
    /// A line is not a call to the engine.
    #[error("line {line} cannot be understood: {reason}")]
    Line {
        /// Counted from 1.
        line: u64,
        /// What is wrong with it.
        reason: serde_json::Error,
    },
}

/// Returns the model that a trace was made with, if its first line names one.
///
/// # Errors
/// [`TraceError`], if that line is not the header of a trace of this version.
pub fn read_model(lines: impl BufRead) -> Result<Option<ModelShape>, TraceError> {
    TraceReader::new(lines).map(|reader| reader.header.model)
}

/// The calls of a trace.
#[derive(Debug)]
pub(crate) struct TraceReader<R> {
    lines: R,
    header: Header,
    line: u64,
    text: Vec<u8>,
    is_cut_off: bool,
}

impl<R: BufRead> TraceReader<R> {
    /// Reads the first line.
    ///
    /// # Errors
    /// [`TraceError`], if it is not the header of a trace of this version.
    pub(crate) fn new(mut lines: R) -> Result<Self, TraceError> {
        /// The field that every version has.
        #[derive(serde::Deserialize)]
        struct Version {
            trace_version: u32,
        }
        let mut text = Vec::new();
        lines.read_until(b'\n', &mut text)?;
        let Version { trace_version } = serde_json::from_slice(&text).map_err(TraceError::Header)?;
        if trace_version != FORMAT_VERSION {
            return Err(TraceError::Version(trace_version));
        }
        let header = serde_json::from_slice(&text).map_err(TraceError::Header)?;
        Ok(Self { lines, header, line: 1, text, is_cut_off: false })
    }

    /// Returns the first line.
    #[must_use]
    pub(crate) fn header(&self) -> &Header {
        &self.header
    }

    /// Returns the number of the line that was read last, counted from 1.
    #[must_use]
    pub(crate) fn line(&self) -> u64 {
        self.line
    }

    /// Returns whether an incomplete last line was left out: the writer was killed, or the disk
    /// full.
    #[must_use]
    pub(crate) fn is_cut_off(&self) -> bool {
        self.is_cut_off
    }

    /// Returns the next call; `None` after the last whole line.
    ///
    /// # Errors
    /// [`TraceError`], if a line cannot be read or understood.
    pub(crate) fn next_call(&mut self) -> Result<Option<Call>, TraceError> {
        self.text.clear();
        self.lines.read_until(b'\n', &mut self.text)?;
        if self.text.last() != Some(&b'\n') {
            self.is_cut_off = !self.text.is_empty();
            return Ok(None);
        }
        self.line += 1;
        let call = serde_json::from_slice(&self.text);
        call.map(Some).map_err(|reason| TraceError::Line { line: self.line, reason })
    }
}
