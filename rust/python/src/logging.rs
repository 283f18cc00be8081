//! The log's one sink: `tracing`, on standard error. Python's few lines go through it too.
//!
//! Its own thread writes the lines. The reader of standard error may stop, and a full pipe must not
//! hold up the threads that serve clients: only lines are lost then.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::env;
use std::io::{self, IsTerminal, Stderr, Write};
use std::panic;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use serde_json::{Map, Value};
use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

use crate::harmless::{harmless, harmless_line};

/// Maximum lines that wait for the writer: about two megabytes.
const MAX_WAITING_LINES: usize = 8192;
/// Maximum wait for the writer.
const PATIENCE: Duration = Duration::from_secs(1);

static LOG: Mutex<Option<Log>> = Mutex::new(None);

/// The thread that writes the log.
struct Log {
    lines: NonBlocking,
    /// Signals for each empty line that all lines before it are written.
    written: Receiver<()>,
    /// Dropping it writes the last lines.
    _writer: WorkerGuard,
}

/// Standard error, for that thread.
struct Sink(Stderr, Sender<()>);

impl Write for Sink {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.write_all(line).map(|()| line.len())
    }

    fn write_all(&mut self, line: &[u8]) -> io::Result<()> {
        if line.is_empty() {
            // Without a receiver the log is closed.
            let _ = self.1.send(());
        }
        match std::str::from_utf8(line) {
            Ok(text) => self.0.write_all(harmless_line(text).as_bytes()),
            Err(_) => self.0.write_all(line),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Sends the log to standard error, as lines of text or of JSON. The first call in a process
/// counts, later ones change nothing.
///
/// Raises:
///     ValueError: `format` is neither "text" nor "json", or `filter` cannot be parsed.
#[pyfunction]
pub(crate) fn init_logging(format: &str, filter: &str) -> PyResult<()> {
    let filter = EnvFilter::try_new(with_levels_of_rust(filter))
        .map_err(|error| PyValueError::new_err(format!("log filter `{filter}`: {error}")))?;
    let (done, written) = mpsc::channel();
    let (lines, writer) = NonBlockingBuilder::default()
        .buffered_lines_limit(MAX_WAITING_LINES)
        .finish(Sink(io::stderr(), done));
    let builder =
        fmt().with_env_filter(filter).with_writer(lines.clone()).with_target(false).with_ansi(has_colours());
    // A second subscriber is refused by `try_init`; the one that is installed stays.
    let installed = match format {
        "text" => builder.try_init(),
        "json" => builder.json().flatten_event(true).try_init(),
        other => {
            return Err(PyValueError::new_err(format!(
                "log format is `{other}`, it must be `text` or `json`"
            )));
        }
    };
    if installed.is_ok() {
        *lock() = Some(Log { lines, written, _writer: writer });
        if format == "json" {
            panic::set_hook(Box::new(|panic| log_panic(&panic.to_string())));
        }
    }
    Ok(())
}

fn lock() -> MutexGuard<'static, Option<Log>> {
    LOG.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns whether to use colours, by <https://no-color.org>: any value but the empty one forbids
/// them.
fn has_colours() -> bool {
    let is_forbidden = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let is_dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
    io::stderr().is_terminal() && !is_forbidden && !is_dumb
}

/// Logs a panic in one line; the standard library would write several.
fn log_panic(message: &str) {
    let backtrace = Backtrace::capture();
    match backtrace.status() {
        BacktraceStatus::Captured => tracing::error!("{message}\n{backtrace}"),
        _ => tracing::error!("{message}"),
    }
}

/// Replaces Python's level `warning` by `warn`: read as the name of a module it would silence all.
fn with_levels_of_rust(filter: &str) -> String {
    let directives = filter.split(',').map(|directive| {
        let (module, level) =
            directive.rsplit_once('=').map_or(("", directive), |(module, level)| (module, level));
        if !level.trim().eq_ignore_ascii_case("warning") {
            return directive.to_owned();
        }
        if module.is_empty() { "warn".to_owned() } else { format!("{module}=warn") }
    });
    directives.collect::<Vec<_>>().join(",")
}

/// Writes the last lines of the log, waiting at most a second for a reader. Call it last: later
/// lines are lost.
#[pyfunction]
pub(crate) fn close_log(py: Python<'_>) {
    py.detach(|| {
        let log = lock().take();
        drop(log);
    });
}

/// Writes all lines so far before any further output, waiting at most a second for a reader.
#[pyfunction]
pub(crate) fn flush_log(py: Python<'_>) {
    py.detach(|| {
        if let Some(log) = lock().as_mut()
            && log.lines.write_all(&[]).is_ok()
        {
            let _ = log.written.recv_timeout(PATIENCE);
        }
    });
}

/// Returns one line of the JSON log, to write where no log is open.
#[pyfunction]
#[pyo3(signature = (level, message, **fields))]
pub(crate) fn json_line(
    level: &str,
    message: &Bound<'_, PyString>,
    fields: Option<&Bound<'_, PyDict>>,
) -> PyResult<String> {
    let mut timestamp = String::new();
    // Writing into memory cannot fail.
    let _ = SystemTime.format_time(&mut Writer::new(&mut timestamp));
    let message = message.to_string_lossy();
    let message = harmless(&message, |_| false);
    let mut line = Map::new();
    for (name, value) in [("timestamp", timestamp.as_str()), ("level", level), ("message", &*message)] {
        line.insert(name.to_owned(), value.into());
    }
    for (name, value) in fields.into_iter().flatten() {
        line.insert(name.extract()?, value.extract::<String>()?.into());
    }
    Ok(format!("{}\n", Value::Object(line)))
}

/// Writes one line at level "info", "warning" or "error".
///
/// Raises:
///     ValueError: `level` is none of these.
#[pyfunction]
pub(crate) fn log(level: &str, message: &Bound<'_, PyString>) -> PyResult<()> {
    // A path may have bytes that are not text.
    let message = message.to_string_lossy();
    let message = harmless(&message, |_| false);
    match level {
        "info" => tracing::info!("{message}"),
        "warning" => tracing::warn!("{message}"),
        "error" => tracing::error!("{message}"),
        other => return Err(PyValueError::new_err(format!("log level is `{other}`"))),
    }
    Ok(())
}
