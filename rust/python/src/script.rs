//! `streamcore._core.Script`: answers in the place of a model.

use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use streamcore_server as server;

use crate::server::TextModel;

/// A script, checked and tokenised.
#[pyclass(frozen, module = "streamcore._core")]
pub(crate) struct Script {
    pub(crate) inner: Arc<server::Script>,
    vocab_size: usize,
}

#[pymethods]
impl Script {
    /// Reads a script from JSON; `text` learns its pieces. Raises ValueError with the place of what is wrong.
    #[new]
    fn new(py: Python<'_>, json: &str, text: &TextModel) -> PyResult<Self> {
        py.detach(|| {
            text.with(|text| {
                let script = server::Script::load(json, text)
                    .map_err(|error| PyValueError::new_err(error.to_string()))?;
                Ok(Self { inner: Arc::new(script), vocab_size: text.tokenizer.vocab_size() })
            })
        })
    }

    /// The names that the script serves its model under; may be none.
    #[getter]
    fn served_model_names(&self) -> Vec<String> {
        self.inner.served_model_names().to_vec()
    }

    /// Raises ValueError if a rule is for a model that is not among the served names.
    #[expect(clippy::needless_pass_by_value, reason = "converted from a Python object")]
    fn check_served(&self, names: Vec<String>) -> PyResult<()> {
        self.inner.check_served(&names).map_err(|error| PyValueError::new_err(error.to_string()))
    }

    /// Tokens that the model knows, pieces included.
    #[getter]
    fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// How often the script was asked for an answer or an error: once for each choice of each valid request.
    #[getter]
    fn num_replies(&self) -> usize {
        self.inner.num_replies()
    }
}
