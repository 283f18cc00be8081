//! The one place where Rust errors become Python exceptions.

use pyo3::PyErr;
use pyo3::exceptions::PyValueError;
use streamcore_engine::EngineError;
use streamcore_server::text::TextError;

pyo3::import_exception!(streamcore.errors, ConfigError);
pyo3::import_exception!(streamcore.errors, ModelLoadError);
pyo3::import_exception!(streamcore.errors, TraceError);

/// Converts an engine's error into a `ValueError`.
#[expect(clippy::needless_pass_by_value, reason = "the form that `map_err` takes")]
pub(crate) fn engine_error(error: EngineError) -> PyErr {
    PyValueError::new_err(error.to_string())
}

/// Converts an error of the model folder: an unusable tokenizer, template or generation config.
#[expect(clippy::needless_pass_by_value, reason = "the form that `map_err` takes")]
pub(crate) fn text_error(error: TextError) -> PyErr {
    ModelLoadError::new_err(error.to_string())
}
