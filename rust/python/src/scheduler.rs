//! `streamcore._core.Scheduler`: the engine by itself, for programs that bring their own runner.

use std::sync::Mutex;

use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use streamcore_engine::{
    Engine, Event, EventKind, FinishReason, Request, RequestId, SamplingParams, StepId, TokenLogprobs,
};

use crate::config::{EngineConfig, duration};
use crate::errors::engine_error;
use crate::step::{Place, StepBuffers, StepPlan, step_results};

/// Continuous batching over a paged KV cache, without the server.
#[pyclass(frozen, module = "streamcore._core")]
pub(crate) struct Scheduler(Mutex<Engine>);

impl Scheduler {
    fn with<T>(&self, py: Python<'_>, work: impl Send + FnOnce(&mut Engine) -> T) -> PyResult<T>
    where
        T: Send,
    {
        py.detach(|| {
            let mut engine = self
                .0
                .lock()
                .map_err(|_| PyRuntimeError::new_err("the scheduler stopped at an internal error"))?;
            Ok(work(&mut engine))
        })
    }
}

macro_rules! set_number {
    ({ $($(#[doc = $about:literal])* $name:ident: $type:ident = $neutral:expr, $range:ident;)* }) => {
        /// Sets a number of the table from a keyword argument.
        fn set_number(sampling: &mut SamplingParams, name: &str, value: &Bound<'_, PyAny>) -> PyResult<()> {
            match name {
                $(stringify!($name) => {
                    sampling.$name = value.extract().map_err(|error| of_argument(value.py(), name, error))?;
                })*
                _ => {
                    let message = format!("add_request() got an unexpected keyword argument '{name}'");
                    return Err(PyTypeError::new_err(message));
                }
            }
            Ok(())
        }
    };
}

streamcore_engine::row_parameters! { set_number! {} }

/// Adds the argument's name to an error, as other arguments do.
fn of_argument(py: Python<'_>, name: &str, error: PyErr) -> PyErr {
    if error.is_instance_of::<PyTypeError>(py) {
        PyTypeError::new_err(format!("argument '{name}': {}", error.value(py)))
    } else {
        error
    }
}

#[pymethods]
impl Scheduler {
    #[new]
    fn new(config: &EngineConfig) -> PyResult<Self> {
        Ok(Self(Mutex::new(Engine::new(config.0.clone()).map_err(engine_error)?)))
    }

    #[pyo3(signature = (
        request_id, prompt, *, max_tokens, min_tokens = 0, stop_token_ids = None, logit_bias = None, seed = 0, logprobs = None,
        prompt_logprobs = None, cache_salt = 0, priority = 0, key = 0, is_constrained = false, deadline_s = None, **numbers
    ))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments of Python")]
    fn add_request(
        &self,
        py: Python<'_>,
        request_id: u64,
        prompt: Vec<u32>,
        max_tokens: usize,
        min_tokens: usize,
        stop_token_ids: Option<Vec<u32>>,
        logit_bias: Option<Vec<(u32, f32)>>,
        seed: u64,
        logprobs: Option<u32>,
        prompt_logprobs: Option<u32>,
        cache_salt: u64,
        priority: i32,
        key: u32,
        is_constrained: bool,
        deadline_s: Option<f64>,
        numbers: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<()> {
        let deadline = deadline_s.map(|seconds| duration("deadline_s", seconds)).transpose()?;
        let logit_bias = logit_bias.unwrap_or_default();
        let mut sampling = SamplingParams { logit_bias, seed, ..SamplingParams::greedy() };
        for (name, value) in numbers.into_iter().flatten() {
            set_number(&mut sampling, name.extract()?, &value)?;
        }
        let request = Request {
            min_tokens,
            stop_token_ids: stop_token_ids.unwrap_or_default(),
            sampling,
            logprobs,
            prompt_logprobs,
            cache_salt,
            priority,
            key,
            is_constrained,
            deadline,
            ..Request::new(RequestId(request_id), prompt, max_tokens)
        };
        self.with(py, |engine| engine.add_request(request))?.map_err(engine_error)
    }

    fn abort(&self, py: Python<'_>, request_id: u64) -> PyResult<bool> {
        self.with(py, |engine| engine.abort(RequestId(request_id)))
    }

    /// Resumes a request whose next mask is ready, with the tokens forced before it.
    #[expect(clippy::needless_pass_by_value, reason = "converted from a Python object")]
    fn resume(&self, py: Python<'_>, request_id: u64, forced: Vec<u32>) -> PyResult<bool> {
        self.with(py, |engine| engine.resume(RequestId(request_id), &forced))
    }

    /// Returns the requests whose samples have a mask, in the order of `masked_samples`.
    fn masked_requests(&self, py: Python<'_>, step_id: u64) -> PyResult<Vec<u64>> {
        self.with(py, |engine| engine.masked_requests(StepId(step_id)).map(|id| id.0).collect())
    }

    /// Ends the requests whose deadline has passed, then plans the next step into `buffers`, or
    /// returns None when nothing can run now.
    #[pyo3(signature = (buffers, now_s = 0.0))]
    fn next_step(&self, py: Python<'_>, buffers: &StepBuffers, now_s: f64) -> PyResult<Option<StepPlan>> {
        let now = duration("now_s", now_s)?;
        let plan = self.with(py, |engine| {
            engine.expire(now);
            // SAFETY: the runner keeps its columns alive and leaves them alone during this call.
            let mut columns = unsafe { buffers.lend() };
            engine.schedule(&mut columns)
        })?;
        Ok(plan.map(StepPlan::from))
    }

    /// Hands back the results of a step, as columns in memory: its sampled tokens, and the
    /// log-probabilities that its plan requests; and its duration, if measured.
    #[pyo3(signature = (step_id, tokens, scores = None, elapsed_s = None))]
    fn complete_step(
        &self,
        py: Python<'_>,
        step_id: u64,
        tokens: Place,
        scores: Option<(Place, Place, Place)>,
        elapsed_s: Option<f64>,
    ) -> PyResult<()> {
        let elapsed = elapsed_s.map(|seconds| duration("elapsed_s", seconds)).transpose()?;
        // SAFETY: the runner passes places in tensors of these types, which it keeps and leaves
        // alone during this call.
        let (sampled, scores) = unsafe { step_results(tokens, scores)? };
        let complete = |engine: &mut Engine| {
            if let Some(elapsed) = elapsed {
                engine.observe(StepId(step_id), elapsed)?;
            }
            engine.complete(StepId(step_id), sampled, scores)
        };
        self.with(py, complete)?.map_err(engine_error)
    }

    /// Returns the events since the last call: request, kind, number (of cached tokens, or the
    /// token), and log-probabilities of its tokens.
    fn drain_events(&self, py: Python<'_>) -> PyResult<Vec<EventTuple>> {
        let mut events = Vec::new();
        self.with(py, |engine| engine.drain_events(&mut events))?;
        Ok(events.into_iter().map(event_tuple).collect())
    }

    /// Returns whether any request is waiting, running or in a step in flight.
    #[getter]
    fn has_work(&self, py: Python<'_>) -> PyResult<bool> {
        self.with(py, |engine| engine.has_work())
    }

    #[getter]
    fn num_free_blocks(&self, py: Python<'_>) -> PyResult<usize> {
        self.with(py, |engine| engine.stats().num_free_blocks)
    }

    #[getter]
    fn num_preemptions(&self, py: Python<'_>) -> PyResult<u64> {
        self.with(py, |engine| engine.stats().preemptions)
    }
}

/// The log-probability of a token, and the most likely tokens with theirs.
type Likelihood = (f32, Vec<(u32, f32)>);
type EventTuple = (u64, &'static str, Option<u32>, Vec<Likelihood>);

fn event_tuple(event: Event) -> EventTuple {
    let mut told = Vec::new();
    let (name, number) = match event.kind {
        EventKind::Scheduled { num_cached_tokens } => ("scheduled", u32::try_from(num_cached_tokens).ok()),
        EventKind::PromptLogprobs(logprobs) => {
            told.extend(logprobs);
            ("prompt_logprobs", None)
        }
        EventKind::Token { token, logprobs } => {
            told.extend(logprobs.map(|logprobs| *logprobs));
            ("token", Some(token))
        }
        EventKind::Finished { reason, logprobs } => {
            told.extend(logprobs.map(|logprobs| *logprobs));
            match reason {
                FinishReason::Stop { token_id } => ("stop", Some(token_id)),
                FinishReason::Length => ("length", None),
                FinishReason::Abort => ("abort", None),
                FinishReason::Deadline => ("deadline", None),
                FinishReason::NotFinite => ("not_finite", None),
            }
        }
    };
    let told = told.into_iter().map(|TokenLogprobs { logprob, top }| (logprob, top)).collect();
    (event.request_id.0, name, number, told)
}
