//! The log's one sink: `tracing`, on standard error. Python's few lines go through it, never the other way round.

use std::io::IsTerminal;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

/// Sends the log to standard error, as lines of text or of JSON. The first call in a process counts, later ones change nothing.
///
/// Raises:
///     ValueError: `format` is neither "text" nor "json", or `filter` cannot be parsed.
#[pyfunction]
pub(crate) fn init_logging(format: &str, filter: &str) -> PyResult<()> {
    let filter = EnvFilter::try_new(filter)
        .map_err(|error| PyValueError::new_err(format!("log filter `{filter}`: {error}")))?;
    let is_terminal = std::io::stderr().is_terminal();
    let builder =
        fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false).with_ansi(is_terminal);
    // A second subscriber is refused by `try_init`; the one that is installed stays.
    let _already_installed = match format {
        "text" => builder.try_init(),
        "json" => builder.json().flatten_event(true).try_init(),
        other => {
            return Err(PyValueError::new_err(format!(
                "log format is `{other}`, it must be `text` or `json`"
            )));
        }
    };
    Ok(())
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
