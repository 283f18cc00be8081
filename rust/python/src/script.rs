//! `streamcore._core.Script`: scripted answers instead of a model's.

use std::borrow::Cow;
use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use streamcore_server as server;
use streamcore_server::script::ParserNames;
use streamcore_server::script::received::Received;

use crate::server::TextModel;

/// Method, path, headers, body as `bytes`.
type ReceivedRequest = (String, String, Vec<(String, String)>, Cow<'static, [u8]>);

/// A script, checked and tokenised.
#[pyclass(frozen, module = "streamcore._core")]
pub(crate) struct Script {
    pub(crate) inner: Arc<server::Script>,
    vocab_size: usize,
}

#[pymethods]
impl Script {
    /// Reads a script from JSON and adds its pieces and formats to `text`. Raises ValueError with
    /// the place of an error.
    #[new]
    #[pyo3(signature = (json, text, *, keeps_requests = false, tool_call_parser = "auto", reasoning_parser = "auto"))]
    fn new(
        py: Python<'_>,
        json: &str,
        text: &TextModel,
        keeps_requests: bool,
        tool_call_parser: &str,
        reasoning_parser: &str,
    ) -> PyResult<Self> {
        let parsers = ParserNames { tools: tool_call_parser, reasoning: reasoning_parser };
        py.detach(|| {
            text.with(|text| {
                let script = server::Script::load(json, text, parsers)
                    .map_err(|error| PyValueError::new_err(error.to_string()))?;
                let script = if keeps_requests { script.with_log() } else { script };
                Ok(Self { inner: Arc::new(script), vocab_size: text.tokenizer.vocab_size() })
            })
        })
    }

    /// Returns the names that the script serves its model under; may be none.
    #[getter]
    fn served_model_names(&self) -> Vec<String> {
        self.inner.served_model_names().to_vec()
    }

    /// Raises ValueError if a rule is for a model that is not among the served names.
    #[expect(clippy::needless_pass_by_value, reason = "converted from a Python object")]
    fn check_served(&self, names: Vec<String>) -> PyResult<()> {
        self.inner.check_served(&names).map_err(|error| PyValueError::new_err(error.to_string()))
    }

    /// Returns the tokens that the model knows, pieces included.
    #[getter]
    fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// Returns a question that some rule answers for this model; None if the rules show none.
    fn example(&self, model: &str) -> Option<String> {
        self.inner.example(model).map(str::to_owned)
    }

    /// Returns the received requests, if the server keeps them: method, path with query, names and
    /// values of the headers, body.
    #[getter]
    fn requests(&self, py: Python<'_>) -> Vec<ReceivedRequest> {
        let requests = py.detach(|| self.inner.log().map(|log| log.requests()).unwrap_or_default());
        let tuple = |Received { method, path, headers, body }| (method, path, headers, Cow::Owned(body));
        requests.into_iter().map(tuple).collect()
    }

    /// Returns the number of replies: one for each choice of each valid request.
    #[getter]
    fn num_replies(&self) -> usize {
        self.inner.num_replies()
    }
}
