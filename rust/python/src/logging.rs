//! The log's one sink: `tracing`, on standard error. Python's few lines go through it, never the other way round.
//!
//! A thread of its own writes the lines. Whoever reads standard error may stop reading, and a pipe that is full must not hold up the
//! threads that serve clients: lines are lost then, and nothing else.

use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

/// Lines that may wait for their writer: two megabytes or so.
const MAX_WAITING_LINES: usize = 8192;

/// Dropped to have the last lines written.
static WRITER: Mutex<Option<WorkerGuard>> = Mutex::new(None);

/// Sends the log to standard error, as lines of text or of JSON. The first call in a process counts, later ones change nothing.
///
/// Raises:
///     ValueError: `format` is neither "text" nor "json", or `filter` cannot be parsed.
#[pyfunction]
pub(crate) fn init_logging(format: &str, filter: &str) -> PyResult<()> {
    let filter = EnvFilter::try_new(with_levels_of_rust(filter))
        .map_err(|error| PyValueError::new_err(format!("log filter `{filter}`: {error}")))?;
    let is_terminal = std::io::stderr().is_terminal();
    let (lines, writer) =
        NonBlockingBuilder::default().buffered_lines_limit(MAX_WAITING_LINES).finish(std::io::stderr());
    let builder = fmt().with_env_filter(filter).with_writer(lines).with_target(false).with_ansi(is_terminal);
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
        *WRITER.lock().unwrap_or_else(PoisonError::into_inner) = Some(writer);
    }
    Ok(())
}

/// `warning`, as Python calls that level, is `warn` here: taken for the name of a module it would silence everything.
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

/// Has the last lines of the log written, for at most a second if nobody reads them. To be called at the very end: later lines are lost.
#[pyfunction]
pub(crate) fn close_log(py: Python<'_>) {
    py.detach(|| drop(WRITER.lock().unwrap_or_else(PoisonError::into_inner).take()));
}

/// Writes one line at level "info", "warning" or "error".
///
/// Raises:
///     ValueError: `level` is none of these.
#[pyfunction]
pub(crate) fn log(level: &str, message: &str) -> PyResult<()> {
    match level {
        "info" => tracing::info!("{message}"),
        "warning" => tracing::warn!("{message}"),
        "error" => tracing::error!("{message}"),
        other => return Err(PyValueError::new_err(format!("log level is `{other}`"))),
    }
    Ok(())
}
