//! `streamcore._core.Server`: the HTTP server, and the two calls of its engine thread.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use streamcore_engine::StepId;
use streamcore_server::door::RequestHead;
use streamcore_server::naming::ReasoningField;
use streamcore_server::{self as server, Access, Driver, DriverLimits, Naming, NextStep, ServerConfig};

use crate::asgi::{Doorbell, Exchange};
use crate::config::{EngineConfig, duration};
use crate::errors::{engine_error, text_error};
use crate::given_back::trim_after_floods;
use crate::script::Script;
use crate::step::{Place, StepBuffers, StepPlan, step_results};
use crate::trace;

/// A bound socket; one with a port does not listen yet.
#[pyclass(frozen, module = "streamcore._core")]
pub(crate) struct Listener {
    inner: Mutex<Option<server::Listener>>,
    url: String,
}

impl Listener {
    fn of(listener: server::Listener) -> Self {
        let url = listener.url();
        Self { inner: Mutex::new(Some(listener)), url }
    }
}

#[pymethods]
impl Listener {
    /// Binds; raises OSError when the port is taken or the address is not of this machine.
    #[new]
    fn new(py: Python<'_>, host: &str, port: u16) -> PyResult<Self> {
        Ok(Self::of(py.detach(|| server::bind(host, port))?))
    }

    /// Binds a Unix domain socket; raises OSError when a server listens there, or something else is
    /// there.
    #[staticmethod]
    #[expect(clippy::needless_pass_by_value, reason = "converted from a Python object")]
    fn at_path(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        Ok(Self::of(py.detach(|| server::bind_unix(&path))?))
    }

    /// Returns the same listener with TLS; this one is used up. Raises OSError when a file cannot
    /// be used.
    #[expect(clippy::needless_pass_by_value, reason = "converted from Python objects")]
    fn with_tls(&self, py: Python<'_>, certfile: PathBuf, keyfile: PathBuf) -> PyResult<Self> {
        let listener = take(&self.inner, "listener")?;
        Ok(Self::of(py.detach(|| listener.with_tls(&certfile, &keyfile))?))
    }

    /// Returns the same listener for clients that find the routes under a path; this one is used
    /// up.
    fn under(&self, root_path: String) -> PyResult<Self> {
        Ok(Self::of(take(&self.inner, "listener")?.under(root_path)))
    }

    /// Returns the base URL of the routes; for a Unix domain socket it names only this machine.
    #[getter]
    fn url(&self) -> &str {
        &self.url
    }
}

/// The tokenizer, chat template and generation defaults of a model folder.
#[pyclass(frozen, module = "streamcore._core")]
pub(crate) struct TextModel(Mutex<Option<server::text::TextModel>>);

#[pymethods]
impl TextModel {
    /// Reads the folder, and logs which files it ignores; raises ModelLoadError when a file cannot
    /// be used, ValueError when there is no parser of a name.
    #[new]
    #[expect(clippy::needless_pass_by_value, reason = "converted from a Python object")]
    #[pyo3(signature = (folder, *, tool_call_parser = "auto", reasoning_parser = "auto"))]
    fn new(
        py: Python<'_>,
        folder: PathBuf,
        tool_call_parser: &str,
        reasoning_parser: &str,
    ) -> PyResult<Self> {
        let mut model = py.detach(|| server::text::TextModel::load(&folder)).map_err(text_error)?;
        model.notices.iter().for_each(|notice| tracing::warn!("{notice}"));
        model
            .choose_formats(tool_call_parser, reasoning_parser)
            .map_err(|name| PyValueError::new_err(format!("there is no parser `{name}`")))?;
        Ok(Self(Mutex::new(Some(model))))
    }

    /// Returns whether messages can be made into a prompt; false once a server has taken the model
    /// over.
    #[getter]
    fn has_chat_template(&self) -> bool {
        let model = self.0.lock();
        model.is_ok_and(|model| model.as_ref().is_some_and(|model| model.chat_template.is_some()))
    }
}

impl TextModel {
    /// Works on the model while it belongs to no server.
    pub(crate) fn with<T>(
        &self,
        work: impl FnOnce(&mut server::text::TextModel) -> PyResult<T>,
    ) -> PyResult<T> {
        let mut model = self.0.lock().map_err(|error| PyRuntimeError::new_err(error.to_string()))?;
        work(model.as_mut().ok_or_else(|| belongs_to_a_server("text model"))?)
    }
}

fn belongs_to_a_server(what: &str) -> PyErr {
    PyRuntimeError::new_err(format!("this {what} already belongs to a server"))
}

fn take<T>(cell: &Mutex<Option<T>>, what: &str) -> PyResult<T> {
    let taken = cell.lock().ok().and_then(|mut value| value.take());
    taken.ok_or_else(|| belongs_to_a_server(what))
}

/// The running HTTP server. One Python thread calls `next_step` and `complete_step` in turn.
#[pyclass(frozen, module = "streamcore._core")]
pub(crate) struct Server {
    inner: Mutex<Option<server::Server>>,
    driver: Arc<Driver>,
    script: Option<Arc<server::Script>>,
}

#[pymethods]
impl Server {
    /// Starts the server, which listens unless `listener` is None; logs how answers are parsed.
    /// Takes over `listener` and `text`; `vocab_size` is the model's, not the tokenizer's.
    #[new]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments of Python")]
    #[pyo3(signature = (listener, text, config, *, served_model_names, vocab_size, api_keys = None, priority_keys = None, allowed_origins = None, max_waiting_requests = None, max_stored_responses = None, script = None, trace_file = None, traced_model = None, reasoning_field = "both"))]
    fn new(
        py: Python<'_>,
        listener: Option<&Listener>,
        text: &TextModel,
        config: &EngineConfig,
        served_model_names: Vec<String>,
        vocab_size: usize,
        api_keys: Option<Vec<String>>,
        priority_keys: Option<Vec<u32>>,
        allowed_origins: Option<Vec<String>>,
        max_waiting_requests: Option<usize>,
        max_stored_responses: Option<usize>,
        script: Option<&Script>,
        trace_file: Option<PathBuf>,
        traced_model: Option<trace::Shape>,
        reasoning_field: &str,
    ) -> PyResult<Self> {
        let reasoning_field = ReasoningField::named(reasoning_field).ok_or_else(|| {
            PyValueError::new_err(format!("there is no reasoning field `{reasoning_field}`"))
        })?;
        let recorder = trace_file.map(|path| trace::create(&path, &config.0, traced_model)).transpose()?;
        let listener = listener.map(|listener| take(&listener.inner, "listener")).transpose()?;
        let text = take(&text.0, "text model")?;
        text.formats_in_words().into_iter().for_each(|words| tracing::info!("{words}"));
        let naming = Naming {
            served_model_names,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            created: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs()),
            reasoning_field,
        };
        let (engine, mut limits) = (config.0.clone(), DriverLimits::default());
        limits.max_waiting_requests = max_waiting_requests.unwrap_or(limits.max_waiting_requests);
        limits.max_stored_responses = max_stored_responses.unwrap_or(limits.max_stored_responses);
        let access = Access {
            api_keys: api_keys.unwrap_or_default(),
            priority_keys: priority_keys.unwrap_or_default(),
            allowed_origins: allowed_origins.unwrap_or_default(),
            is_local: false,
        };
        let script = script.map(|script| Arc::clone(&script.inner));
        let server_config =
            ServerConfig { naming, access, vocab_size, engine, limits, script: script.clone() };
        let inner = py.detach(|| server::Server::start(listener, text, server_config))?;
        trim_after_floods(inner.driver())?;
        if let Some(recorder) = recorder {
            inner.driver().record(recorder);
        }
        Ok(Self { driver: Arc::clone(inner.driver()), script, inner: Mutex::new(Some(inner)) })
    }

    /// Answers a request that an ASGI server has read; the parts of the answer come by `bell` under
    /// `number`. `target` is the path behind `prefix`.
    #[expect(clippy::needless_pass_by_value, reason = "converted from a Python object")]
    fn open(
        &self,
        bell: &Doorbell,
        number: u64,
        method: &str,
        prefix: &str,
        target: &[u8],
        headers: Vec<(PyBackedBytes, PyBackedBytes)>,
    ) -> PyResult<Exchange> {
        let headers = headers.iter().map(|(name, value)| (&**name, &**value)).collect();
        let head = RequestHead { method: method.as_bytes(), prefix, target, headers };
        let inner = self.inner.lock().ok();
        let open = inner.and_then(|inner| inner.as_ref().map(|inner| inner.open(&head, &bell.0, number)));
        open.map(Exchange).ok_or_else(|| PyRuntimeError::new_err("the server has been shut down"))
    }

    /// Waits up to `timeout_s` for work and plans it into `buffers`; None when there was none, or
    /// the server has stopped.
    fn next_step(&self, py: Python<'_>, buffers: &StepBuffers, timeout_s: f64) -> PyResult<Option<StepPlan>> {
        let timeout = duration("timeout_s", timeout_s)?;
        let next = py.detach(|| {
            // SAFETY: the runner keeps its columns alive and leaves them alone during this call.
            let mut columns = unsafe { buffers.lend() };
            self.driver.next_step(&mut columns, timeout)
        });
        Ok(match next {
            NextStep::Plan(plan) => Some(plan.into()),
            NextStep::Idle | NextStep::Stopped => None,
        })
    }

    /// Hands back the results of a step, as columns in memory: its sampled tokens, and the
    /// log-probabilities that its plan requests.
    #[pyo3(signature = (step_id, tokens, scores = None))]
    fn complete_step(
        &self,
        py: Python<'_>,
        step_id: u64,
        tokens: Place,
        scores: Option<(Place, Place, Place)>,
    ) -> PyResult<()> {
        // SAFETY: the runner passes places in tensors of these types, which it keeps and leaves
        // alone during this call.
        let (sampled, scores) = unsafe { step_results(tokens, scores)? };
        py.detach(|| self.driver.complete_step(StepId(step_id), sampled, scores)).map_err(engine_error)
    }

    /// Plays the script in place of a runner until the server has stopped.
    fn run_script(&self, py: Python<'_>) -> PyResult<()> {
        let script = self.script.as_ref().ok_or_else(|| PyValueError::new_err("the server has no script"))?;
        py.detach(|| server::script::runner::run(&self.driver, script));
        Ok(())
    }

    /// Watches the step loop and gives it up when it hangs; `decode_s` is the duration of a step of
    /// one token.
    fn watch(&self, decode_s: f64) -> PyResult<()> {
        self.driver.expect_step(1, duration("decode_s", decode_s)?);
        if let Some(inner) = self.inner.lock().ok().as_deref().and_then(Option::as_ref) {
            inner.watch();
        }
        Ok(())
    }

    /// Returns why the runner was given up, or None.
    #[getter]
    fn failure(&self) -> Option<String> {
        self.driver.failure()
    }

    /// Returns whether a drain has ended: `next_step` will never return a plan again.
    #[getter]
    fn is_stopped(&self) -> bool {
        self.driver.is_stopped()
    }

    /// Returns the number of requests that have not ended, those in the queue included.
    #[getter]
    fn num_requests(&self) -> usize {
        let stats = self.driver.stats();
        stats.num_running + stats.num_waiting
    }

    /// Takes no new request; running streams finish, or are aborted after `deadline_s`.
    fn drain(&self, py: Python<'_>, deadline_s: f64) -> PyResult<()> {
        let deadline = duration("deadline_s", deadline_s)?;
        py.detach(|| {
            if let Ok(inner) = self.inner.lock()
                && let Some(inner) = inner.as_ref()
            {
                inner.drain(deadline);
            }
        });
        Ok(())
    }

    /// Ends every open request with an error event that carries `message`: the runner died.
    fn fail(&self, py: Python<'_>, message: &str) {
        py.detach(|| self.driver.fail(message));
    }

    /// Flushes and closes every socket and joins the threads. Further calls do nothing.
    fn shutdown(&self, py: Python<'_>) {
        py.detach(|| {
            let inner = self.inner.lock().ok().and_then(|mut inner| inner.take());
            if let Some(inner) = inner {
                inner.shutdown();
            }
        });
    }
}

/// Returns the names of the parsers of calls, and of those of reasoning.
#[pyfunction]
pub(crate) fn parser_names() -> (Vec<&'static str>, Vec<&'static str>) {
    (server::text::tool_formats().collect(), server::text::reasoning_formats().collect())
}

/// Returns every metric: name, type, vLLM's name for it or an empty text, and description.
#[pyfunction]
pub(crate) fn metrics_reference() -> Vec<(&'static str, &'static str, &'static str, &'static str)> {
    server::metrics::reference().map(|[name, kind, alias, help]| (name, kind, alias, help)).collect()
}
