//! Records a trace.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::time::Instant;

use serde::Serialize;
use streamcore_engine::EngineConfig;

use crate::format::{Header, ModelShape};

/// The writer of one engine's trace.
///
/// A trace must never disturb the engine: if a line cannot be written, one error is logged and
/// recording ends.
pub struct Recorder {
    lines: Option<Box<dyn Write + Send>>,
    started: Instant,
    /// Lines not yet written, kept for its capacity.
    buffer: Vec<u8>,
}

impl Recorder {
    /// Begins a trace in a new file that only its owner may read: it contains prompts.
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

    /// Adds a line, which waits for [`Self::flush`].
    pub(crate) fn add(&mut self, line: &impl Serialize) {
        if self.lines.is_some() {
            serde_json::to_writer(&mut self.buffer, line).expect("numbers and lists are JSON");
            self.buffer.push(b'\n');
        }
    }

    /// Hands the lines to the system, so that they reach the file even if this process is killed.
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
