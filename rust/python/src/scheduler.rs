//! `streamcore._core.Scheduler`: the engine by itself, for programs that bring their own runner.

use std::sync::Mutex;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use streamcore_engine::{
    Engine, Event, EventKind, FinishReason, Request, RequestId, SamplingParams, Scores, StepId,
};

use crate::config::EngineConfig;
use crate::errors::engine_error;
use crate::step::{StepBuffers, StepPlan, sampled_tokens};

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

#[pymethods]
impl Scheduler {
    #[new]
    fn new(config: &EngineConfig) -> PyResult<Self> {
        Ok(Self(Mutex::new(Engine::new(config.0.clone()).map_err(engine_error)?)))
    }

    #[pyo3(signature = (request_id, prompt, *, max_tokens, stop_token_ids = vec![], temperature = 0.0, top_p = 1.0, top_k = 0, seed = 0, cache_salt = 0, priority = 0))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments of Python")]
    fn add_request(
        &self,
        py: Python<'_>,
        request_id: u64,
        prompt: Vec<u32>,
        max_tokens: usize,
        stop_token_ids: Vec<u32>,
        temperature: f32,
        top_p: f32,
        top_k: u32,
        seed: u64,
        cache_salt: u64,
        priority: i32,
    ) -> PyResult<()> {
        let sampling = SamplingParams { temperature, top_p, top_k, seed, ..SamplingParams::greedy() };
        let plain = Request::new(RequestId(request_id), prompt, max_tokens);
        let request = Request { stop_token_ids, sampling, cache_salt, priority, ..plain };
        self.with(py, |engine| engine.add_request(request))?.map_err(engine_error)
    }

    fn abort(&self, py: Python<'_>, request_id: u64) -> PyResult<bool> {
        self.with(py, |engine| engine.abort(RequestId(request_id)))
    }

    /// Plans the next step into `buffers`, or returns None when nothing can run now.
    fn next_step(&self, py: Python<'_>, buffers: &StepBuffers) -> PyResult<Option<StepPlan>> {
        let plan = self.with(py, |engine| {
            // SAFETY: the runner keeps its columns alive and leaves them alone during this call.
            let mut columns = unsafe { buffers.lend() };
            engine.schedule(&mut columns)
        })?;
        Ok(plan.map(StepPlan::from))
    }

    /// Hands back the sampled tokens of a step, one int32 for each sample, in the order of the plan.
    fn complete_step(&self, py: Python<'_>, step_id: u64, address: usize, len: usize) -> PyResult<()> {
        // SAFETY: the runner passes the address of a tensor of `len` int32 that it keeps during this call.
        let sampled = unsafe { sampled_tokens(address, len)? };
        self.with(py, |engine| engine.complete(StepId(step_id), sampled, Scores::default()))?
            .map_err(engine_error)
    }

    /// What happened since the last call: `(request_id, "scheduled" | "token" | "stop" | "length" | "abort", number or None)`; the
    /// number is that of the cached tokens or the token id.
    fn drain_events(&self, py: Python<'_>) -> PyResult<Vec<(u64, &'static str, Option<u32>)>> {
        let mut events = Vec::new();
        self.with(py, |engine| engine.drain_events(&mut events))?;
        Ok(events.iter().map(event_tuple).collect())
    }

    /// Whether any request is waiting, running or in a step in flight.
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

fn event_tuple(event: &Event) -> (u64, &'static str, Option<u32>) {
    let (name, number) = match event.kind {
        EventKind::Scheduled { num_cached_tokens } => ("scheduled", u32::try_from(num_cached_tokens).ok()),
        EventKind::PromptLogprobs(_) => ("prompt_logprobs", None),
        EventKind::Token { token, .. } => ("token", Some(token)),
        EventKind::Finished(FinishReason::Stop { token_id }) => ("stop", Some(token_id)),
        EventKind::Finished(FinishReason::Length) => ("length", None),
        EventKind::Finished(FinishReason::Abort) => ("abort", None),
    };
    (event.request_id.0, name, number)
}
