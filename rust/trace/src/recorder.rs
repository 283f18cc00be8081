//! Writes a trace as it happens.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::time::Instant;

use serde::Serialize;
use streamcore_engine::EngineConfig;

use crate::format::{Header, ModelShape};

/// Where the lines of one engine's trace go.
///
/// A trace must never be in the way of what it records: if a line cannot be written, an error is
/// logged, once, and recording is over.
pub struct Recorder {
    lines: Option<Box<dyn Write + Send>>,
    started: Instant,
    /// Lines on their way, kept for its capacity.
    buffer: Vec<u8>,
}

impl Recorder {
    /// Begins a trace in a new file, which only its owner may read: prompts are in it.
    ///
    /// # Errors
    /// The system's; among others if there is such a file already.
    pub fn create(path: &Path, config: &EngineConfig, model: Option<ModelShape>) -> io::Result<Self> {
        Self::new(create_private(path)?, config, model)
    }

    /// Begins a trace.
    ///
    /// # Errors
    /// The writer's, if it does not take the header.
    pub fn new(
        lines: impl Write + Send + 'static,
        config: &EngineConfig,
        model: Option<ModelShape>,
    ) -> io::Result<Self> {
        let mut lines: Box<dyn Write + Send> = Box::new(lines);
        let mut header = serde_json::to_vec(&Header::new(config.clone(), model))?;
        header.push(b'\n');
        lines.write_all(&header)?;
        Ok(Self { lines: Some(lines), started: Instant::now(), buffer: Vec::new() })
    }

    /// Returns the microseconds since the trace began.
    pub(crate) fn at_us(&self) -> u64 {
        self.started.elapsed().as_micros().try_into().unwrap_or(u64::MAX)
    }

    /// Adds a line, that waits for [`Self::flush`].
    pub(crate) fn add(&mut self, line: &impl Serialize) {
        if self.lines.is_some() {
            serde_json::to_writer(&mut self.buffer, line).expect("numbers and lists are JSON");
            self.buffer.push(b'\n');
        }
    }

    /// Hands the lines to the system, from where they reach the file also if this process is
    /// killed.
    pub(crate) fn flush(&mut self) {
        let Some(lines) = &mut self.lines else { return };
        if let Err(error) = lines.write_all(&self.buffer).and_then(|()| lines.flush()) {
            tracing::error!("the trace ends here, it cannot be written any further: {error}");
            self.lines = None;
        }
        self.buffer.clear();
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.flush();
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_recording = self.lines.is_some();
        formatter.debug_struct("Recorder").field("is_recording", &is_recording).finish_non_exhaustive()
    }
}

#[cfg(unix)]
fn create_private(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

#[cfg(not(unix))]
fn create_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).open(path)
}
